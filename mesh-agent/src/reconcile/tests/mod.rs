//! The reconciler under test: counters and their owners, limits, restarts; `edges` has who makes
//! connections, `local` has which
//! backends are on this node, `order` the theorem
//! about the order of writes, `same` that an update gives what a new start would.

mod edges;
mod guarded;
mod guards;
mod local;
mod order;
mod proxied;
mod refusals;
mod same;
mod scale;
mod switch;

use std::time::Duration;

use mesh_common::frontend::FrontendKey;
use mesh_common::service::ServiceFlags;
use proptest::prelude::*;

use super::*;
use crate::compile::Limits;
use crate::maps::memory::MemoryMaps;
use crate::testing::{LIMITS, Objects, changes, endpoint, here, name, put, service, world};

/// Any moment: nothing here has open connections.
const NOW: Duration = Duration::ZERO;

fn opened_over<M: MapStore>(maps: M) -> Reconciler<M> {
    let mut reconciler = Reconciler::open(maps, Journal::in_memory(), here()).unwrap();
    reconciler.set_acceleration(true);
    reconciler
}

fn fresh(objects: &Objects) -> Reconciler<MemoryMaps> {
    let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
    reconciler.change(changes(&Objects::default(), objects));
    reconciler.install(1).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler
}

const FIRST: BackendIndex = BackendIndex { index: 1 };

/// A service with one endpoint, whose connections are counted so far.
fn counted(counters: BackendCounters) -> Reconciler<MemoryMaps> {
    let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
    reconciler.change([put(service("a", &[1], &[80])), put(endpoint("a", "v1", 1, 1))]);
    reconciler.install(1).unwrap();
    reconciler.maps_mut().count(FIRST, counters);
    reconciler
}

fn remove(kind: Kind, text: &str) -> Change {
    Change::Remove(ObjectRef { kind, name: name(text) })
}

fn remove_endpoint() -> Change {
    remove(Kind::Endpoint, "a-v1-1")
}

/// Opened connections by version.
fn opened(reconciler: &Reconciler<MemoryMaps>) -> Vec<(String, u64)> {
    let totals = reconciler.totals(&reconciler.raw().unwrap());
    let version = |account: crate::ledger::Account| account.version.map(|v| v.to_string());
    totals
        .into_iter()
        .map(|(account, counters)| (version(account).unwrap_or_default(), counters.opened))
        .collect()
}

#[test]
fn an_endpoint_replaced_at_its_address_starts_from_zero() {
    let five = BackendCounters { opened: 5, closed: 5, ..BackendCounters::default() };
    let mut reconciler = counted(five);
    reconciler.change([remove_endpoint(), put(endpoint("a", "v2", 1, 1))]);
    reconciler.install(2).unwrap();
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 5), ("v2".to_owned(), 0)]);
    reconciler.maps_mut().count(FIRST, BackendCounters { opened: 7, closed: 7, ..five });
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 5), ("v2".to_owned(), 2)]);
}

#[test]
fn a_backend_stays_until_its_last_connection_ends() {
    let open = BackendCounters { attempts: 2, opened: 2, closed: 1, ..BackendCounters::default() };
    let mut reconciler = counted(open);
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    let removed: Vec<_> = reconciler.removed().collect();
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].index, removed[0].backend.port, removed[0].protocol), (FIRST, 8080, 6));
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().backends.at(FIRST).flags.keeps_old());
    reconciler.maps_mut().count(FIRST, BackendCounters { closed: 2, ..open });
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 2)]);
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&FIRST));
    assert_eq!(reconciler.removed().count(), 0);
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 2)]);
}

#[test]
fn a_connect_under_way_is_waited_for_but_not_for_ever() {
    let mut reconciler = counted(BackendCounters { attempts: 1, ..BackendCounters::default() });
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler.retire(NOW + CONNECTING / 2).unwrap();
    assert!(reconciler.actual().backends.contains_key(&FIRST));
    reconciler.retire(NOW + CONNECTING).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&FIRST));
}

#[test]
fn an_endpoint_that_comes_back_goes_on_counting() {
    let open = BackendCounters { attempts: 2, opened: 2, closed: 1, ..BackendCounters::default() };
    let mut reconciler = counted(open);
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.change([put(endpoint("a", "v1", 1, 1))]);
    reconciler.install(3).unwrap();
    reconciler.retire(NOW).unwrap();
    assert!(reconciler.actual().backends.at(FIRST).flags.takes_new());
    assert_eq!(reconciler.actual().backends.len(), 1);
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 2)]);
}

#[test]
fn a_draining_endpoint_stays_in_the_maps() {
    let mut reconciler = counted(BackendCounters::default());
    let mut draining = endpoint("a", "v1", 1, 1);
    draining.state = mesh_api::model::EndpointState::Draining;
    reconciler.change([put(draining)]);
    reconciler.install(2).unwrap();
    assert_eq!(reconciler.removed().count(), 0);
    reconciler.retire(NOW).unwrap();
    let backend = reconciler.actual().backends.at(FIRST);
    assert!(!backend.flags.takes_new() && backend.flags.keeps_old() && backend.port != 0);
    assert!(reconciler.actual().slots.is_empty());
}

#[test]
fn a_service_deleted_leaves_nothing_and_its_counters_stay() {
    let closed = BackendCounters { opened: 5, closed: 5, ..BackendCounters::default() };
    let mut reconciler = counted(closed);
    reconciler.change([remove(Kind::Service, "a")]);
    reconciler.install(2).unwrap();
    assert_eq!(reconciler.removed().count(), 0);
    reconciler.retire(NOW).unwrap();
    assert_eq!(*reconciler.actual(), MapImage::default());
    assert_eq!(opened(&reconciler), [("v1".to_owned(), 5)]);
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_tried_again_when_there_is_room() {
    let limits = Limits { backends: 4, ..LIMITS };
    let mut reconciler = opened_over(MemoryMaps::new(limits));
    reconciler.change([put(service("a", &[1], &[80])), put(service("b", &[2], &[80]))]);
    reconciler.change([put(endpoint("a", "v1", 1, 1))]);
    assert_eq!(reconciler.install(1).unwrap().rejections, []);
    let before = reconciler.actual().clone();
    reconciler.change((2..5).map(|last| put(endpoint("a", "v1", last, 1))));
    let report = reconciler.install(2).unwrap();
    let [rejection] = report.rejections.as_slice() else { panic!("{report:?}") };
    assert_eq!(rejection.object.to_string(), "Service default/a");
    assert_eq!(
        rejection.message,
        "port 80: backends are used up (4): start the agent with a higher --max-backends"
    );
    // What was there stays.
    assert_eq!(*reconciler.actual(), before);
    // Others go on.
    reconciler.change([put(endpoint("b", "v1", 9, 1)), put(endpoint("b", "v1", 8, 1))]);
    assert_eq!(reconciler.install(3).unwrap().rejections.len(), 1);
    reconciler.change([remove(Kind::Service, "b")]);
    reconciler.change([remove(Kind::Endpoint, "a-v1-4")]);
    assert_eq!(reconciler.install(4).unwrap().rejections.len(), 1);
    assert!(reconciler.retire(NOW).unwrap() > 0);
    assert_eq!(reconciler.install(5).unwrap().rejections, []);
    assert_eq!(reconciler.actual().slots.len(), 1 + 3);
    reconciler.retire(NOW).unwrap();
    assert_eq!(reconciler.actual().slots.len(), 3);
}

#[test]
fn two_services_cannot_share_an_address() {
    let mut reconciler = opened_over(MemoryMaps::new(LIMITS));
    reconciler.change([put(service("b", &[1], &[80]))]);
    assert_eq!(reconciler.install(1).unwrap().rejections, []);
    reconciler.change([put(service("a", &[1], &[80]))]);
    let report = reconciler.install(2).unwrap();
    assert_eq!(report.rejections.len(), 1);
    assert_eq!(report.rejections[0].object.to_string(), "Service default/b");
    assert!(report.rejections[0].message.contains("10.96.0.1:80 is already taken"));
    reconciler.change([remove(Kind::Service, "a")]);
    assert_eq!(reconciler.install(3).unwrap().rejections, []);
    reconciler.retire(NOW).unwrap();
    assert_eq!(reconciler.actual().services.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A new agent over the maps of an old one, with the same world, writes nothing.
    #[test]
    fn a_restart_writes_nothing(objects in world()) {
        let first = fresh(&objects);
        prop_assume!(first.report().rejections.is_empty());
        let mut restarted = opened_over(first.maps().clone());
        restarted.change(changes(&Objects::default(), &objects));
        prop_assert_eq!(restarted.install(9).unwrap().writes, 0);
        restarted.retire(NOW).unwrap();
        prop_assert_eq!(restarted.actual(), first.actual());
        prop_assert_eq!(restarted.maps().image(), first.maps().image());
    }

    #[test]
    fn an_image_refers_only_to_itself(before in world(), after in world()) {
        let mut reconciler = fresh(&before);
        reconciler.change(changes(&before, &after));
        reconciler.install(2).unwrap();
        let image = reconciler.actual();
        for service in image.frontends.values() {
            prop_assert!(image.services.contains_key(service));
        }
        for (index, head) in image.services.iter() {
            let asks = ServiceFlags::GUARDED.bits | ServiceFlags::TIMED.bits;
            let asks = head.flags.bits & asks != 0;
            prop_assert!(!asks || image.policies.contains_key(&index));
            let table = image.table(head);
            prop_assert_eq!(table.len(), head.slot_count as usize);
            for slot in table {
                prop_assert_eq!(slot.service, index);
                for backend in [slot.backend, slot.alias] {
                    prop_assert_eq!(image.backends.at(backend).service, index);
                }
            }
        }
        // Nobody leads to a backend that takes no new connections.
        let rejected = !reconciler.report().rejections.is_empty();
        for (key, service) in &image.frontends {
            for slot in image.table(&image.services.at(*service)) {
                let leads = image.backends.at(slot.backend).flags.takes_new();
                prop_assert!(leads || rejected, "{:?}", key);
            }
        }
    }
}

/// Every key of a dual set of images.
fn keys(images: &[&MapImage]) -> BTreeSet<FrontendKey> {
    images.iter().flat_map(|image| image.frontends.keys()).copied().collect()
}
