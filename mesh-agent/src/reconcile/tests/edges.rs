//! Connections by client: whoever comes and goes, each is counted once, for who has made it.

use std::path::Path;

use mesh_common::edge::{EdgeCounters, EdgeKey};

use super::*;
use crate::edges::names::Names;
use crate::edges::{Roster, Source};
use crate::ledger::{Account, Sources};
use crate::maps::faulty::FaultyMaps;

const SHOP: u64 = 5;
const CART: u64 = 6;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn both() -> Names {
    let shop = (SHOP, "/system.slice/shop.service");
    Names::fixed([shop, (CART, "/system.slice/cart.service/worker")])
}

fn open<M: MapStore>(maps: M, directory: &Path, names: Names) -> Reconciler<M> {
    let sources = Sources { boot: "boot".to_owned(), edges: 9, ..Sources::default() };
    let journal = Journal::open(directory, &sources, None).unwrap();
    let clients = (names, Roster::default());
    let mut reconciler = Reconciler::open_with(maps, journal, here(), clients).unwrap();
    reconciler.change([put(service("a", &[1], &[80])), put(endpoint("a", "v1", 1, 1))]);
    reconciler
}

fn key<M: MapStore>(reconciler: &Reconciler<M>, cgroup: u64) -> EdgeKey {
    let generation = reconciler.actual().backends.at(FIRST).generation;
    EdgeKey { cgroup, backend: FIRST, generation }
}

const fn ended(count: u64) -> EdgeCounters {
    EdgeCounters { opened: count, closed: count, ..EdgeCounters::ZERO }
}

/// Opened connections by client and version.
fn rows<M: MapStore>(reconciler: &mut Reconciler<M>) -> Vec<(String, String, u64)> {
    let raw = reconciler.maps().edges().unwrap();
    let version = |account: Account| account.version.map(|v| v.to_string()).unwrap_or_default();
    let rows = reconciler.edges(&raw).into_iter();
    let rows = rows.filter(|(_, counters)| counters.opened > 0);
    rows.map(|((source, account), it)| (source.to_string(), version(account), it.opened)).collect()
}

fn row(source: &str, version: &str, opened: u64) -> (String, String, u64) {
    (source.to_owned(), version.to_owned(), opened)
}

/// A service with an endpoint that both clients have used.
fn used(directory: &Path) -> Reconciler<MemoryMaps> {
    let mut reconciler = open(MemoryMaps::new(LIMITS), directory, both());
    reconciler.install(1).unwrap();
    for (client, count) in [(SHOP, 5), (CART, 3)] {
        let key = key(&reconciler, client);
        reconciler.maps_mut().count_edge(key, ended(count));
    }
    assert_eq!(rows(&mut reconciler), [row("cart.service", "v1", 3), row("shop.service", "v1", 5)]);
    reconciler
}

fn edges_left<M: MapStore>(reconciler: &Reconciler<M>) -> usize {
    reconciler.maps().edges().unwrap().len()
}

#[test]
fn an_endpoint_replaced_at_its_address_splits_what_clients_count() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = used(directory.path());
    reconciler.change([remove_endpoint(), put(endpoint("a", "v2", 1, 1))]);
    reconciler.install(2).unwrap();
    let key = key(&reconciler, SHOP);
    reconciler.maps_mut().count_edge(key, ended(7));
    let expected =
        [row("cart.service", "v1", 3), row("shop.service", "v1", 5), row("shop.service", "v2", 2)];
    assert_eq!(rows(&mut reconciler), expected);
    let maps = reconciler.maps().clone();
    let mut reconciler = open(maps, directory.path(), both());
    reconciler.change([remove_endpoint(), put(endpoint("a", "v2", 1, 1))]);
    reconciler.install(3).unwrap();
    assert_eq!(rows(&mut reconciler), expected);
}

#[test]
fn a_backend_that_is_freed_takes_its_edges_along_and_its_index_starts_from_zero() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = used(directory.path());
    let before = rows(&mut reconciler);
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    assert!(!reconciler.actual().backends.contains_key(&FIRST));
    assert_eq!(rows(&mut reconciler), before, "settled, and still in the map");

    // Nobody has come to delete them when the agent starts again.
    let maps = reconciler.maps().clone();
    let mut reconciler = open(maps, directory.path(), Names::default());
    reconciler.change([remove_endpoint()]);
    assert_eq!(rows(&mut reconciler), before);
    reconciler.sweep_edges(NOW).unwrap();
    assert_eq!((rows(&mut reconciler), edges_left(&reconciler)), (before, 0));

    reconciler.change([put(endpoint("a", "v2", 1, 2))]);
    reconciler.install(9).unwrap();
    let key = key(&reconciler, SHOP);
    reconciler.maps_mut().count_edge(key, ended(1));
    let rows = rows(&mut reconciler);
    assert_eq!(rows.len(), 3, "{rows:?}");
    // Its name is not known: no edge had it when the agent started.
    assert!(rows.contains(&row("unknown", "v2", 1)));
}

#[test]
fn a_client_that_has_gone_keeps_its_name_and_its_edges_go_once_they_are_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = used(directory.path());
    let key = key(&reconciler, SHOP);
    let open_one = EdgeCounters { opened: 6, closed: 5, ..EdgeCounters::ZERO };
    reconciler.maps_mut().count_edge(key, open_one);
    let maps = reconciler.maps().clone();
    drop(reconciler);

    let mut reconciler = open(maps, directory.path(), Names::fixed([(CART, "/cart.service")]));
    reconciler.install(2).unwrap();
    let mut now = Duration::ZERO;
    let mut pass = |reconciler: &mut Reconciler<MemoryMaps>, time| {
        let end = now + time;
        while now < end {
            now += 10 * SECOND;
            reconciler.sweep_edges(now).unwrap();
        }
    };
    let expected = [row("cart.service", "v1", 3), row("shop.service", "v1", 6)];
    pass(&mut reconciler, 10 * MINUTE);
    assert_eq!((rows(&mut reconciler), edges_left(&reconciler)), (expected.to_vec(), 2));
    reconciler.maps_mut().count_edge(key, ended(6));
    pass(&mut reconciler, 2 * MINUTE);
    assert_eq!(edges_left(&reconciler), 2);
    // It was not as quiet as it seemed.
    reconciler.maps_mut().count_edge(key, EdgeCounters { failed: [1, 0, 0, 0], ..ended(6) });
    pass(&mut reconciler, 2 * MINUTE);
    assert_eq!(edges_left(&reconciler), 2);
    pass(&mut reconciler, 2 * MINUTE);
    assert_eq!((rows(&mut reconciler), edges_left(&reconciler)), (expected.to_vec(), 1));
    // It comes back, from zero.
    reconciler.maps_mut().count_edge(key, ended(1));
    let again =
        [row("cart.service", "v1", 3), row("shop.service", "v1", 6), row("unknown", "v1", 1)];
    assert_eq!(rows(&mut reconciler), again);
}

#[test]
fn edges_that_an_agent_without_this_book_has_left_are_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let reconciler = used(directory.path());
    let mut maps = reconciler.maps().clone();
    let dead = EdgeKey { generation: 77, ..key(&reconciler, SHOP) };
    maps.count_edge(dead, ended(50));
    let header = r#"{"format":1,"boot":"boot","backends":0,"services":0,"reasons":0}"#;
    std::fs::write(directory.path().join("counters.json"), format!("{header}\n")).unwrap();
    let mut reconciler = open(maps, directory.path(), both());
    reconciler.install(2).unwrap();
    assert_eq!(rows(&mut reconciler), [row("cart.service", "v1", 3), row("shop.service", "v1", 5)]);
    assert_eq!(edges_left(&reconciler), 2);
}

#[test]
fn whichever_operation_fails_nothing_is_lost_or_counted_twice() {
    let done = (0..40).find(|fail_at| {
        let directory = tempfile::tempdir().unwrap();
        let mut maps = used(directory.path()).maps().clone();
        let mut reconciler =
            open(FaultyMaps::new(maps.clone(), *fail_at), directory.path(), both());
        let expected = [row("cart.service", "v1", 3), row("shop.service", "v1", 5)];
        // What it is to be told first is whose they are.
        let mut failed = false;
        assert!(!reconciler.is_settled());
        for (stamp, remove) in (2..).zip([false, true, true, false, true]) {
            let change = if remove { remove_endpoint() } else { put(endpoint("a", "v1", 1, 1)) };
            reconciler.change([change]);
            while reconciler.install(stamp).is_err() {
                failed = true;
                assert!(!reconciler.is_settled(), "operation {fail_at}");
            }
            assert!(reconciler.is_settled());
            let now = MINUTE * stamp;
            failed |= reconciler.retire(now).is_err();
            failed |= reconciler.sweep_edges(now).is_err();
            assert_eq!(rows(&mut reconciler), expected, "operation {fail_at}");
        }
        maps = reconciler.maps().inner().clone();
        let mut reconciler = open(maps, directory.path(), both());
        assert_eq!(rows(&mut reconciler), expected, "operation {fail_at}, started again");
        !failed
    });
    assert!(done.is_some_and(|done| done > 3), "{done:?}");
}

#[test]
fn so_many_sources_have_rows_of_their_own_and_who_has_one_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut reconciler = used(directory.path());
    reconciler.roster = Roster::new(1);
    let one = [row("other", "v1", 3), row("shop.service", "v1", 5)];
    let mut found = rows(&mut reconciler);
    found.sort();
    assert_eq!((found, reconciler.sources()), (one.to_vec(), (1, 1)));
    let key = key(&reconciler, CART);
    reconciler.maps_mut().count_edge(key, ended(30));
    let mut found = rows(&mut reconciler);
    found.sort();
    assert_eq!(found, [row("other", "v1", 30), row("shop.service", "v1", 5)]);
    // The next agent goes on with that, though it has room for more.
    let maps = reconciler.maps().clone();
    let mut reconciler = open(maps, directory.path(), both());
    reconciler.install(2).unwrap();
    let mut found = rows(&mut reconciler);
    found.sort();
    assert_eq!(found, [row("other", "v1", 30), row("shop.service", "v1", 5)]);
    assert_eq!(reconciler.sources(), (1, 1));
    // Freed, both have gone.
    reconciler.change([remove_endpoint()]);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler.sweep_edges(NOW).unwrap();
    let mut found = rows(&mut reconciler);
    found.sort();
    assert_eq!(found, [row("other", "v1", 30), row("shop.service", "v1", 5)]);
    let settled = reconciler.journal().edges().settled();
    assert!(settled.keys().any(|(source, _)| *source == Source::Other));
}
