//! What a large world costs, in time and memory: prints that, and checks what does not depend on
//! the machine: `MESH_SERVICES=10000 cargo test --release -p mesh-agent --lib scale -- --nocapture`.

use std::net::Ipv4Addr;
use std::time::Instant;

use mesh_api::model::{Endpoint, Service};
use mesh_api::wire::ReportTrafficResponse;
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::limits::MAX_EDGES;

use super::*;
use crate::edges::names::Names;
use crate::edges::{Rest, Roster};
use crate::ledger::Sources;
use crate::report::changes::{Changes, MAX_EDGES as MOST_ROWS};
use crate::report::rows::counted as report_of;
use crate::testing::label;
use crate::worker::Stats;

/// How many services, unless `MESH_SERVICES` says so.
const SERVICES: u32 = 500;
pub(super) const ENDPOINTS: u32 = 10;
pub(super) const LARGE: Limits =
    Limits { frontends: 65_536, services: 32_768, slots: 524_288, backends: 262_144 };

pub(super) fn nth_service(n: u32) -> Service {
    let vips = vec![Ipv4Addr::from(0x0a60_0000 + n).into()];
    Service { vips, ..service(&format!("service-{n}"), &[], &[80]) }
}

pub(super) fn nth_endpoint(service: u32, n: u32, weight: u32) -> Endpoint {
    let at = service * ENDPOINTS + n;
    Endpoint {
        name: name(&format!("service-{service}-endpoint-{n}")),
        address: Ipv4Addr::from(0x0b00_0000 + at).into(),
        node: Some(label(&format!("node-{}", at % 50))),
        workload: Some(label(&format!("service-{service}-7d4b9c-{n}"))),
        ..endpoint(&format!("service-{service}"), "v1", 1, weight)
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn scale() {
    let services = std::env::var("MESH_SERVICES").ok().and_then(|number| number.parse().ok());
    let services = services.unwrap_or(SERVICES);
    let before = resident_kib();
    let mut reconciler = opened_over(MemoryMaps::new(LARGE));
    let started = Instant::now();
    for at in 0..services {
        reconciler.change([put(nth_service(at))]);
        reconciler.change((0..ENDPOINTS).map(|n| put(nth_endpoint(at, n, 1))));
    }
    let world = started.elapsed();
    let with_world = resident_kib();
    let started = Instant::now();
    let writes = reconciler.install(1).unwrap().writes;
    let full = started.elapsed();
    assert_eq!(reconciler.report().rejections, []);
    assert_eq!(reconciler.actual().backends.len(), (services * ENDPOINTS) as usize);
    reconciler.retire(NOW).unwrap();
    let after = resident_kib();
    println!("world {world:?}, full install {full:?} with {writes} writes");
    // Other tests give memory back meanwhile.
    let since = |now: u64| now.saturating_sub(before);
    println!("RSS: world {} KiB, all {} KiB (two images)", since(with_world), since(after));

    let mut times = Vec::new();
    for n in 0..2000 {
        let service = n * 7919 % services;
        let change = if n % 3 == 0 {
            let at = format!("service-{service}-endpoint-{}", n % ENDPOINTS);
            remove(Kind::Endpoint, &at)
        } else {
            put(nth_endpoint(service, n % ENDPOINTS, 2 + n % 5))
        };
        let started = Instant::now();
        reconciler.change([change]);
        let writes = reconciler.install(2 + n).unwrap().writes;
        times.push(started.elapsed());
        assert!(writes < 200, "{writes}");
        if n % 64 == 0 {
            let started = Instant::now();
            reconciler.retire(NOW).unwrap();
            if n % 640 == 0 {
                println!("retire {:?}", started.elapsed());
            }
        }
    }
    times.sort_unstable();
    println!("one change: p50 {:?} p99 {:?} max {:?}", times[1000], times[1980], times[1999]);
    println!("RSS after the changes {} KiB", since(resident_kib()));

    let maps = reconciler.maps().clone();
    drop(reconciler);
    let started = Instant::now();
    let restarted = opened_over(maps);
    println!("open over full maps {:?}", started.elapsed());
    drop(restarted);
}

/// What a report costs the thread that owns the maps, but for the kernel's part: one client for each
/// endpoint, as far as the kernel has room.
#[test]
fn reading() {
    const CLIENTS: u64 = 100;
    let services = std::env::var("MESH_SERVICES").ok().and_then(|number| number.parse().ok());
    let services: u32 = services.unwrap_or(SERVICES);
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources { boot: "boot".to_owned(), edges: 9, ..Sources::default() };
    let journal = Journal::open(directory.path(), &sources, None).unwrap();
    let paths: Vec<String> = (0..CLIENTS).map(|at| format!("/client-{at}.service")).collect();
    let mut names = Names::fixed([]);
    names.remember(&(1..=CLIENTS).zip(&paths).map(|(id, path)| (id, label(path))).collect());
    names.meet(1..=CLIENTS);
    let clients = (names, Roster::default());
    let mut reconciler =
        Reconciler::open_with(MemoryMaps::new(LARGE), journal, here(), clients).unwrap();
    for at in 0..services {
        reconciler.change([put(nth_service(at))]);
        reconciler.change((0..ENDPOINTS).map(|n| put(nth_endpoint(at, n, 1))));
    }
    reconciler.install(1).unwrap();
    let backends: Vec<_> =
        reconciler.actual().backends.iter().map(|(at, it)| (at, it.generation)).collect();
    let used = backends.len().min(MAX_EDGES as usize);
    for (cgroup, (backend, generation)) in (0..CLIENTS).cycle().zip(&backends).take(used) {
        let counters = BackendCounters { attempts: 9, opened: 9, ..BackendCounters::default() };
        reconciler.maps_mut().count(*backend, counters);
        let (cgroup, backend, generation) = (cgroup + 1, *backend, *generation);
        let key = EdgeKey { cgroup, backend, generation };
        let counters = EdgeCounters { opened: 9, ..EdgeCounters::ZERO };
        reconciler.maps_mut().count_edge(key, counters);
    }
    let mut rest = Rest::default();
    let mut changes = Changes::new("n1".to_owned(), "run".to_owned(), MOST_ROWS);
    for round in ["first", "second", "third"] {
        let started = Instant::now();
        let before = reconciler.raw().unwrap();
        let raw = reconciler.maps().edges().unwrap();
        let after = reconciler.raw().unwrap();
        assert_eq!(before, after);
        let totals = reconciler.totals(&after);
        let read = started.elapsed();
        let edges = reconciler.edges(&raw);
        let by_client = started.elapsed();
        let rows = rest.rows(&totals, &edges, &totals);
        reconciler.keep_rest(&rest, &edges);
        let all = started.elapsed();
        assert_eq!(raw.len(), used);
        assert_eq!(
            rows.values().map(|row| row.counters.opened).sum::<u64>(),
            9 * u64::try_from(raw.len()).unwrap()
        );
        let stats = Stats { totals, edges: rows, ..Stats::default() };
        let began = Instant::now();
        let report = changes.next(report_of(&stats, "n1"), Duration::from_secs(1));
        let reported = began.elapsed();
        changes.answered(ReportTrafficResponse::default());
        println!(
            "{round}: totals {read:?}, with clients {by_client:?}, all {all:?}; report of {} \
             edges {reported:?}",
            report.edges.len()
        );
    }
}
