//! `register`, heartbeats and `deregister`.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use crate::control::{Control, REVIEWS};
use crate::run::{command, signal};

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
fn without_heartbeats_the_lease_ends() {
    let control = Control::start();
    let mut args = REGISTER.to_vec();
    args.extend(["--ttl", "1s"]);
    control.run(&args).quiet();
    let start = Instant::now();
    while control.run(&["get", "ep/reviews-10-0-0-7"]).code != 4 {
        assert!(start.elapsed() < Duration::from_secs(20), "still there");
        std::thread::sleep(Duration::from_millis(100));
    }
}
