//! `--wait` and `status`: what nodes have acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::control::{Control, REVIEWS, SPLIT};
use crate::run::{Run, command};

#[test]
fn wait_returns_when_every_node_serves_the_revision() {
    let control = Control::start();
    let alone = control.apply(REVIEWS, &["--wait", "--timeout", "300ms"]).code(124);
    assert_eq!(
        alone.err,
        "error: revision 1 is stored, but after 300ms no node is connected that could serve it\n"
    );
    let _a = control.node("node-a");
    let _b = control.node("node-b");
    let run = control.apply(SPLIT, &["--wait"]).code(0);
    assert_eq!(run.out, "serviceconfig/reviews created (revision 2)\n");
    assert!(run.err.starts_with("revision 2: live on 2 nodes ("), "{run:?}");
    let status = control.run(&["status"]).quiet();
    let version = env!("CARGO_PKG_VERSION");
    let first =
        format!("Control plane {}, version {version}: revision 2; services 1, ", control.server);
    assert!(status.starts_with(&first), "{status}");
    assert!(status.contains("\nnode-a   yes         2      yes "), "{status}");
    assert!(status.contains("\nnode-b   yes         2      yes "), "{status}");
    assert!(control.run(&["status", "-o", "wide"]).quiet().contains("9.9.9"));
    assert!(control.run(&["status", "-o", "json"]).quiet().contains("\"inSync\": true"));
    assert!(control.run(&["status", "-o", "yaml"]).quiet().contains("inSync: true"));
    assert_eq!(control.run(&["status", "-o", "name"]).quiet(), "node/node-a\nnode/node-b\n");
    let back = control.apply(&SPLIT.replace("90", "80"), &[]);
    back.quiet();
    let run = control.run(&["rollback", "sc/reviews", "--wait"]).code(0);
    assert!(run.err.starts_with("revision 4: live on 2 nodes ("), "{run:?}");
}

#[test]
fn for_want_of_a_node_the_wait_goes_on_until_one_serves_it() {
    let control = Control::start();
    let mut child = command(&control.server, &["apply", "--wait", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("piped").write_all(REVIEWS.as_bytes()).expect("written");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    // It is stored; what is left is the wait.
    out.read_line(&mut line).expect("UTF-8");
    assert_eq!(line, "service/reviews created (revision 1)\n");
    assert!(child.try_wait().expect("running").is_none());
    let _node = control.node("node-a");
    let run = Run::from(child.wait_with_output().expect("ends")).code(0);
    assert!(run.err.starts_with("revision 1: live on 1 node ("), "{run:?}");
}

#[test]
fn a_node_that_does_not_answer_is_named_at_the_timeout() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let _quick = control.node("quick");
    let slow = control.node("slow");
    slow.sleep();
    let start = Instant::now();
    let run = control.apply(SPLIT, &["--wait", "--timeout", "700ms"]).code(124);
    assert!(start.elapsed() > Duration::from_millis(700));
    assert_eq!(run.out, "serviceconfig/reviews created (revision 2)\n");
    assert_eq!(
        run.err,
        "error: revision 2 is stored, but after 700ms not live on:\n  slow: serves revision 1\n"
    );
    let status = control.run(&["status"]).quiet();
    assert!(status.contains("slow    yes         1      behind"), "{status}");
}

#[test]
fn a_node_that_refuses_ends_the_wait_with_its_reasons() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    let node = control.node("node-a");
    node.refuse();
    let start = Instant::now();
    let run = control.apply(SPLIT, &["--wait"]).code(1);
    assert!(start.elapsed() < Duration::from_secs(20), "not at the timeout");
    assert!(run.err.starts_with("error: revision 2 is refused:\n  node-a: "), "{run:?}");
    assert!(run.err.contains("no room in the map"), "{run:?}");
    let status = control.run(&["status"]).quiet();
    assert!(status.contains("rejects"), "{status}");
    assert!(status.contains("no room in the map"), "{status}");
}
