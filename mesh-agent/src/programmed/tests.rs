//! Maps that were written for a world do not differ from it; one changed entry is found, and nothing
//! else is.

use std::time::Duration;

use mesh_common::backend::{BackendFlags, BackendIndex};
use mesh_common::service::{Algorithm, ServiceFlags};
use mesh_common::slot::Slot;
use proptest::prelude::*;

use super::*;
use crate::ledger::Journal;
use crate::maps::memory::MemoryMaps;
use crate::reconcile::Reconciler;
use crate::testing::{LIMITS, Objects, changes, endpoint, here, name, put, service, world};
use crate::world::Change;

fn reconciler(changes: Vec<Change>) -> Reconciler<MemoryMaps> {
    let mut reconciler =
        Reconciler::open(MemoryMaps::new(LIMITS), Journal::in_memory(), here()).unwrap();
    reconciler.set_acceleration(true);
    reconciler.change(changes);
    reconciler.install(1).unwrap();
    reconciler
}

/// A service with two endpoints that share one to three.
fn one() -> Reconciler<MemoryMaps> {
    let (a, b) = (endpoint("a", "v1", 1, 1), endpoint("a", "v2", 2, 3));
    reconciler(vec![put(service("a", &[1], &[80])), put(a), put(b)])
}

/// The lines after a change of the maps behind the agent's back.
fn after(change: impl FnOnce(&mut MapImage)) -> Vec<String> {
    let reconciler = one();
    let mut image = reconciler.maps().image().clone();
    change(&mut image);
    let (found, services) = reconciler.intended().unwrap().differences(&image);
    assert_eq!(services, 1);
    let text = |it: Option<String>| it.unwrap_or_else(|| "none".to_owned());
    let line = |it: Difference| {
        let Difference { subject, field, intended, programmed } = it;
        format!("{subject} {field}: {} {}", text(intended), text(programmed))
    };
    found.into_iter().map(line).collect()
}

const WEB: &str = "service/default/a:80/TCP/IPv4";
const FIRST: BackendIndex = BackendIndex { index: 1 };
const INDEX: ServiceIndex = ServiceIndex { index: 1 };

fn expect(lines: &[String], expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|line| format!("{WEB} {line}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn what_was_written_is_as_it_should_be() {
    assert_eq!(after(|_| {}), Vec::<String>::new());
    let fresh = Reconciler::open(MemoryMaps::new(LIMITS), Journal::in_memory(), here()).unwrap();
    assert!(fresh.intended().is_none(), "nobody knows yet what should be");
}

#[test]
fn a_changed_entry_is_named_with_both_values() {
    let lines = after(|image| {
        let other = image.services.at(INDEX);
        let all = image.slots.iter().map(|(at, slot)| (at, *slot)).collect::<Vec<_>>();
        assert_eq!(usize::try_from(other.slot_count).unwrap(), all.len());
        for (at, slot) in all {
            image.slots.insert(at, Slot { threshold: u32::MAX, ..slot });
        }
    });
    let place = |n: u8| {
        let image = one();
        let backend = image.maps().image().backends.at(BackendIndex { index: n.into() });
        Address(&backend.addr, backend.port).to_string()
    };
    let (one, two) = (place(1), place(2));
    expect(
        &lines,
        &[&format!("endpoint {one} share: 25% 50%"), &format!("endpoint {two} share: 75% 50%")],
    );
    let lines = after(|image| {
        let backend = image.backends.at(FIRST);
        image.backends.insert(FIRST, Backend { flags: BackendFlags::DRAINING, ..backend });
    });
    expect(&lines, &[&format!("endpoint {one} state: serving draining")]);
    let lines = after(|image| image.backends.remove(&FIRST));
    expect(
        &lines,
        &[
            &format!("endpoint {one} share: 25% none"),
            &format!("endpoint {one} state: serving none"),
            "endpoint backend that is free share: none 25%",
        ],
    );
    let lines = after(|image| {
        let head = image.services.at(INDEX);
        let flags = head.flags.and(ServiceFlags::PASS_THROUGH);
        let algorithm = Algorithm::LEAST_CONNECTIONS;
        let head = mesh_common::service::ServiceHead { flags, algorithm, ..head };
        image.services.insert(INDEX, head);
    });
    expect(
        &lines,
        &["load balancer: random least connections", "without backend: errno 113 pass through"],
    );
}

#[test]
fn addresses_and_whole_services_are_missed() {
    let frontend = |image: &MapImage| *image.frontends.keys().next().unwrap();
    let lines = after(|image| {
        let key = frontend(image);
        image.frontends.remove(&key);
    });
    expect(&lines, &["frontend 10.96.0.1:80: there none"]);
    let lines = after(|image| {
        let key = frontend(image);
        image.frontends.insert(key, ServiceIndex { index: 7 });
    });
    expect(&lines, &["frontend 10.96.0.1:80: there of unknown service 7"]);
    let lines = after(|image| image.services.remove(&INDEX));
    expect(&lines, &["programmed: yes none"]);
    let lines = after(|image| {
        let key = FrontendKey { port: 81, ..frontend(image) };
        image.frontends.insert(key, INDEX);
    });
    expect(&lines, &["frontend 10.96.0.1:81: none there"]);
    let lines = after(|image| image.accelerating = true);
    assert_eq!(lines, ["node acceleration: off on"]);
}

#[test]
fn what_does_not_fit_is_missed_until_it_does() {
    let mut reconciler = one();
    reconciler.change([Change::Remove(mesh_api::model::ObjectRef {
        kind: mesh_api::model::Kind::Endpoint,
        name: name("a-v1-1"),
    })]);
    // Not installed.
    let image = reconciler.maps().image().clone();
    let (found, _) = reconciler.intended().unwrap().differences(&image);
    let fields: Vec<_> = found.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(found.len(), 3, "{fields:?}");
    reconciler.install(2).unwrap();
    let image = reconciler.maps().image().clone();
    assert_eq!(reconciler.intended().unwrap().differences(&image).0, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_history_of_updates_makes_a_difference_that_no_rejection_explains(
        steps in prop::collection::vec((world(), any::<bool>()), 1..5),
    ) {
        let mut reconciler = reconciler(Vec::new());
        let mut before = Objects::default();
        for (stamp, (objects, retires)) in (2..).zip(&steps) {
            reconciler.change(changes(&before, objects));
            reconciler.install(stamp).unwrap();
            if *retires {
                reconciler.retire(Duration::ZERO).unwrap();
            }
            before = objects.clone();
            let intended = reconciler.intended().unwrap();
            let (found, _) = intended.differences(reconciler.maps().image());
            let rejected: Vec<String> = reconciler
                .report()
                .rejections
                .iter()
                .map(|it| format!("service/{}:", it.object.name))
                .collect();
            let explained = |it: &&Difference| {
                !rejected.iter().any(|service| it.subject.starts_with(service))
            };
            let unexplained: Vec<_> = found.iter().filter(explained).collect();
            prop_assert!(unexplained.is_empty(), "{unexplained:#?}");
            prop_assert!(!rejected.is_empty() || found.is_empty());
        }
    }
}
