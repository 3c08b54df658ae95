//! What is published for the agents.

use super::*;
use crate::testing::{model, name, on_node, wire_check, wire_endpoint};
use crate::world::Stored;

fn says(book: &HealthBook, status: Health, reason: &str, now: Instant) {
    let node: Label = "n1".parse().unwrap();
    let finding =
        Finding { status: Some(status), reason: reason.to_owned(), since: now, latency_us: 1 };
    let report = AgentReport {
        node,
        full: true,
        ttl: Duration::from_secs(15),
        findings: vec![(name("shop/web-1"), finding)],
        gone: Vec::new(),
        guards: wire::NodeGuards::default(),
    };
    assert!(!book.heard(report, now).unwrap());
    book.publish();
}

#[test]
fn a_reason_alone_is_not_published() {
    let objects =
        [wire_check("shop/web", true), on_node(wire_endpoint("shop/web-1", "web", "v1"), "n1")];
    let stored = objects.map(|object| Stored { object: model(object), resource_version: 1 });
    let now = Instant::now();
    let world = World::new(1, stored);
    let book = HealthBook::new(&world, Duration::ZERO, HealthMetrics::default(), now);
    let mut published = book.snapshots();
    // The first one is, whatever it says: those who wait are answered.
    book.publish();
    assert!(published.has_changed().unwrap());
    for (status, reason, is) in [
        (Health::Unhealthy, "refused", true),
        (Health::Unhealthy, "timeout", false),
        (Health::Healthy, "", true),
        (Health::Healthy, "fine", false),
    ] {
        published.mark_unchanged();
        says(&book, status, reason, now);
        assert_eq!(published.has_changed().unwrap(), is, "{status:?} {reason}");
    }
}
