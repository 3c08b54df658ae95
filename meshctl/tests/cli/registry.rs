//! `register`, heartbeats and `deregister`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::{Duration, Instant};

use crate::control::{Control, REVIEWS};
use crate::run::{Run, command, signal};

const REGISTER: [&str; 7] =
    ["register", "--service", "reviews", "--version", "v1", "--address", "10.0.0.7"];

#[test]
fn an_endpoint_is_registered_and_deregistered() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    assert_eq!(
        control.run(&REGISTER).quiet(),
        "endpoint/reviews-10-0-0-7 registered (revision 2, permanent)\n"
    );
    let listed = control.run(&["get", "ep"]).quiet();
    assert!(listed.contains("reviews-10-0-0-7   reviews   v1        10.0.0.7"), "{listed}");
    assert_eq!(
        control.run(&["deregister", "reviews-10-0-0-7"]).quiet(),
        "endpoint/reviews-10-0-0-7 deregistered (revision 3)\n"
    );
    control.run(&["deregister", "endpoint/reviews-10-0-0-7"]).code(4);
}

#[test]
fn heartbeats_keep_the_lease_until_the_end() {
    let control = Control::start();
    let mut args = REGISTER.to_vec();
    args.extend(["--ttl", "1s", "--heartbeat"]);
    for end in ["-INT", "-TERM"] {
        let mut child = command(&control.server, &args).spawn().expect("runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("a line").expect("UTF-8");
        assert!(line().ends_with("ttl 1s)"));
        // Longer than the lease.
        std::thread::sleep(Duration::from_millis(2500));
        control.run(&["get", "ep/reviews-10-0-0-7"]).quiet();
        signal(&child, end);
        assert_eq!(line(), "endpoint/reviews-10-0-0-7 deregistered");
        assert_eq!(child.wait().expect("ends").code(), Some(0));
        control.run(&["get", "ep/reviews-10-0-0-7"]).code(4);
    }
}

#[test]
fn what_was_deleted_does_not_come_back_by_a_heartbeat() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let mut args = REGISTER.to_vec();
    args.extend(["--ttl", "10s", "--heartbeat", "-o", "name"]);
    let mut child = command(&control.server, &args).spawn().expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.next().expect("a line").expect("UTF-8");
    assert_eq!(line, "endpoint/reviews-10-0-0-7");
    control.run(&["delete", "ep/reviews-10-0-0-7"]).quiet();
    let run = Run::from(child.wait_with_output().expect("ends")).code(4);
    assert_eq!(
        run.err,
        "error: endpoint/reviews-10-0-0-7 was deleted: it is not registered again\n"
    );
    control.run(&["get", "ep/reviews-10-0-0-7"]).code(4);
}

#[test]
fn what_slept_too_long_is_registered_again() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let mut args = REGISTER.to_vec();
    args.extend(["--ttl", "1s", "--heartbeat"]);
    let mut child = command(&control.server, &args).spawn().expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.next().expect("a line").expect("UTF-8").ends_with("ttl 1s)"));
    let until = |code: i32| {
        let start = Instant::now();
        while control.run(&["get", "ep/reviews-10-0-0-7"]).code != code {
            assert!(start.elapsed() < Duration::from_secs(20), "not {code}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    signal(&child, "-STOP");
    until(4);
    signal(&child, "-CONT");
    until(0);
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    assert!(said.contains("the lease had run out"), "{said}");
}

#[test]
fn register_and_deregister_print_what_is_asked_for() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let register = |format: &str| {
        let args: Vec<_> = REGISTER.iter().copied().chain(["-o", format]).collect();
        control.run(&args).quiet()
    };
    assert_eq!(register("name"), "endpoint/reviews-10-0-0-7\n");
    let yaml = register("yaml");
    assert!(yaml.contains("resourceVersion: 2\n"), "{yaml}");
    assert!(yaml.contains("address: 10.0.0.7\n"), "{yaml}");
    assert!(register("json").contains("\"resourceVersion\": 2"));
    let gone = control.run(&["deregister", "reviews-10-0-0-7", "-o", "name"]).quiet();
    assert_eq!(gone, "endpoint/reviews-10-0-0-7\n");
}

#[test]
fn without_heartbeats_the_lease_ends() {
    let control = Control::start();
    let mut args = REGISTER.to_vec();
    args.extend(["--ttl", "1s"]);
    let run = control.run(&args).code(0);
    assert_eq!(
        run.err,
        "Warning: Endpoint default/reviews-10-0-0-7: spec.service: there is no Service \
         default/reviews yet: nothing is sent to this endpoint\n"
    );
    let start = Instant::now();
    while control.run(&["get", "ep/reviews-10-0-0-7"]).code != 4 {
        assert!(start.elapsed() < Duration::from_secs(20), "still there");
        std::thread::sleep(Duration::from_millis(100));
    }
}
