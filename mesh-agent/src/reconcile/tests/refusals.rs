//! Refusals by client: whoever comes and goes, each is counted once, for who has asked.

use std::path::Path;

use mesh_common::counter::ServiceCounters;
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCause, RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use super::*;
use crate::edges::Roster;
use crate::edges::names::Names;
use crate::edges::refusals::RefusalRest;
use crate::ledger::Sources;
use crate::maps::faulty::FaultyMaps;

const SHOP: u64 = 5;
const CART: u64 = 6;
const MINUTE: Duration = Duration::from_mins(1);
const INDEX: ServiceIndex = ServiceIndex { index: 1 };

fn both() -> Names {
    let shop = (SHOP, "/system.slice/shop.service");
    Names::fixed([shop, (CART, "/system.slice/cart.service")])
}

fn open<M: MapStore>(maps: M, directory: &Path, names: Names) -> Reconciler<M> {
    let sources = Sources { boot: "boot".to_owned(), edges: 9, refusals: 8, ..Sources::default() };
    let journal = Journal::open(directory, &sources, None).unwrap();
    let mut reconciler =
        Reconciler::open_with(maps, journal, here(), (names, Roster::default())).unwrap();
    reconciler.change([put(service("a", &[1], &[80]))]);
    reconciler
}

/// Sets what the service at the index has refused so far: some of it nobody's.
fn refuse(maps: &mut MemoryMaps, shop: u64, cart: u64, rest: u64) {
    for (cgroup, count) in [(SHOP, shop), (CART, cart)] {
        if count > 0 {
            let cause = RefusalCause::from_reason(Reason::BREAKER_OPEN);
            let key = RefusalKey { cgroup, service: INDEX, pad: 0 };
            maps.count_refusal(key, RefusalCounters::of(cause, count));
        }
    }
    let refused = shop + cart + rest;
    maps.count_service(INDEX, ServiceCounters { refused, passed: 0 });
}

/// What was refused, by client and service.
fn rows<M: MapStore>(reconciler: &mut Reconciler<M>) -> Vec<(String, String, u64)> {
    let whole = reconciler.without_backend(&reconciler.raw().unwrap());
    let raw = reconciler.maps().refusals().unwrap();
    let (_, parts) = reconciler.clients(&[], &raw);
    let rows = RefusalRest::default().rows(&whole, &parts, &whole).into_iter();
    let rows = rows.filter(|(_, counters)| counters.total() > 0);
    let name = |name: Option<mesh_api::model::ObjectName>| name.map(|it| it.name.to_string());
    rows.map(|((source, account), it)| {
        (source.to_string(), name(account.service).unwrap_or_default(), it.total())
    })
    .collect()
}

fn row(source: &str, service: &str, refused: u64) -> (String, String, u64) {
    (source.to_owned(), service.to_owned(), refused)
}

#[test]
fn an_index_that_is_used_again_counts_for_its_next_service() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = open(MemoryMaps::new(LIMITS), directory.path(), both());
    reconciler.install(1).unwrap();
    refuse(reconciler.maps_mut(), 5, 3, 2);
    let mut expected =
        vec![row("cart.service", "a", 3), row("shop.service", "a", 5), row("unknown", "a", 2)];
    assert_eq!(rows(&mut reconciler), expected);
    // Some are refused between the last reading and the end.
    refuse(reconciler.maps_mut(), 6, 3, 2);
    expected[1].2 = 6;
    reconciler.change([remove(Kind::Service, "a")]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().services.contains_key(&INDEX));
    assert_eq!(rows(&mut reconciler), expected, "settled, and still in the map");

    for sweeps in [false, true] {
        let names = if sweeps { Names::default() } else { both() };
        let maps = reconciler.maps().clone();
        reconciler = open(maps, directory.path(), names);
        let (now, next) = if sweeps { (MINUTE, "c") } else { (NOW, "b") };
        reconciler.change([remove(Kind::Service, "a")]);
        if sweeps {
            reconciler.change([put(service("b", &[2], &[80]))]);
            reconciler.install(2).unwrap();
            reconciler.change([remove(Kind::Service, "b")]);
        }
        reconciler.install(3).unwrap();
        reconciler.retire(now).unwrap();
        if sweeps {
            reconciler.sweep_edges(now).unwrap();
            assert!(reconciler.maps().refusals().unwrap().is_empty());
        }
        reconciler.change([put(service(next, &[2], &[80]))]);
        reconciler.install(4).unwrap();
        assert!(reconciler.actual().services.contains_key(&INDEX));
        if sweeps {
            // From 0.
            let maps = reconciler.maps_mut();
            let key = RefusalKey { cgroup: SHOP, service: INDEX, pad: 0 };
            let cause = RefusalCause::from_reason(Reason::TORN);
            maps.count_refusal(key, RefusalCounters::of(cause, 1));
            maps.count_service(INDEX, ServiceCounters { refused: 6 + 3 + 2 + 4 + 1, passed: 0 });
            expected.insert(3, row("shop.service", "c", 1));
        } else {
            refuse(reconciler.maps_mut(), 6, 7, 2);
            expected.insert(1, row("cart.service", "b", 4));
        }
        assert_eq!(rows(&mut reconciler), expected);
    }
}

#[test]
fn who_has_gone_keeps_its_name_and_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = open(MemoryMaps::new(LIMITS), directory.path(), both());
    reconciler.install(1).unwrap();
    refuse(reconciler.maps_mut(), 5, 3, 0);
    rows(&mut reconciler);
    let maps = reconciler.maps().clone();
    let names = Names::fixed([(CART, "/system.slice/cart.service")]);
    let mut reconciler = open(maps, directory.path(), names);
    reconciler.install(2).unwrap();
    let expected = [row("cart.service", "a", 3), row("shop.service", "a", 5)];
    for (minute, left) in [(1, 2), (2, 1), (3, 1)] {
        reconciler.sweep_edges(MINUTE * minute).unwrap();
        assert_eq!(rows(&mut reconciler), expected);
        assert_eq!(reconciler.maps().refusals().unwrap().len(), left, "minute {minute}");
    }
}

#[test]
fn whichever_operation_fails_nothing_is_lost_or_counted_twice() {
    let done = (0..40).find(|fail_at| {
        let directory = tempfile::tempdir().unwrap();
        let mut reconciler = open(MemoryMaps::new(LIMITS), directory.path(), both());
        reconciler.install(1).unwrap();
        refuse(reconciler.maps_mut(), 5, 3, 2);
        let expected = [row("cart.service", "a", 3), row("shop.service", "a", 5)];
        let expected = [expected.as_slice(), &[row("unknown", "a", 2)]].concat();
        assert_eq!(rows(&mut reconciler), expected);
        let maps = reconciler.maps().clone();
        let mut reconciler = open(FaultyMaps::new(maps, *fail_at), directory.path(), both());
        let mut failed = false;
        for (stamp, remove_it) in (2..).zip([false, true, true, false, true]) {
            let change =
                if remove_it { remove(Kind::Service, "a") } else { put(service("a", &[1], &[80])) };
            reconciler.change([change]);
            while reconciler.install(stamp).is_err() {
                failed = true;
            }
            let now = MINUTE * stamp;
            failed |= reconciler.retire(now).is_err();
            failed |= reconciler.sweep_edges(now).is_err();
            assert_eq!(rows(&mut reconciler), expected, "operation {fail_at}");
        }
        let maps = reconciler.maps().inner().clone();
        let mut reconciler = open(maps, directory.path(), both());
        reconciler.install(9).unwrap();
        assert_eq!(rows(&mut reconciler), expected, "operation {fail_at}, started again");
        !failed
    });
    assert!(done.is_some_and(|done| done > 3), "{done:?}");
}
