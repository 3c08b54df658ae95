//! Connections by who makes them: each client's metrics are what that client has counted, and all
//! rows together are what everybody has.

use std::collections::BTreeMap;
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuHashMap, PerCpuValues};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::names;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::firewall;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::metrics::Metrics;
use mesh_tests::process::Place;
use mesh_tests::stats::float;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const FAILED: &str = "istio_tcp_connections_failed_total";
const SENT: &str = "istio_tcp_received_bytes_total";
const RECEIVED: &str = "istio_tcp_sent_bytes_total";
const CAUSES: &str = "mesh_tcp_connection_failures_total";
const TIMED: &str = "mesh_tcp_timed_connections_total";
const SECONDS: &str = "mesh_tcp_connection_duration_seconds_total";

const PATIENCE: Duration = Duration::from_secs(30);
/// Most pairs of a client and a backend.
const ROOM: u64 = 16_384;

/// A client in a cgroup of its own, and what it has counted.
struct Client {
    cgroup: Cgroup,
    /// As the metrics call it.
    name: String,
    place: Place,
    opened: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    bytes: u64,
}

impl Client {
    fn new(bed: &Testbed, name: &str) -> anyhow::Result<Self> {
        let cgroup = bed.node.cgroup().child(name)?;
        let name = bed.node.workload(name);
        let place = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        let (opened, failed) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { cgroup, name, place, opened, failed, bytes: 0 })
    }

    /// Makes connections to the service.
    fn run(&mut self, count: u64) -> anyhow::Result<Outcome> {
        let outcome = Traffic::run(&self.place, Plan::to(VIP, Mode::Request), count)?;
        self.note(&outcome);
        Ok(outcome)
    }

    fn note(&mut self, outcome: &Outcome) {
        for (version, count) in outcome.by_backend() {
            *self.opened.entry(version.to_string()).or_default() += count;
        }
        for (errno, count) in outcome.failures() {
            *self.failed.entry(errno.to_owned()).or_default() += count;
        }
        self.bytes += outcome.sent + outcome.received;
    }

    fn all(&self) -> u64 {
        self.opened.values().sum()
    }
}

fn bytes(metrics: &Metrics, labels: &[(&str, &str)], value: u64) -> Result<(), String> {
    let found = metrics.sum(SENT, labels) + metrics.sum(RECEIVED, labels);
    if (found - float(value)).abs() < 0.5 {
        return Ok(());
    }
    Err(format!("bytes{labels:?}: {found} instead of {value}"))
}

/// Compares what each client has counted with its rows, and with all rows.
fn assert_exact(bed: &Testbed, clients: &[&Client]) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let all: u64 = clients.iter().map(|client| client.all()).sum();
        let service = ("destination_service_name", "web");
        metrics.expect(OPENED, &[service], all)?;
        metrics.expect(CLOSED, &[service], all)?;
        bytes(&metrics, &[service], clients.iter().map(|client| client.bytes).sum())?;
        let failed = |client: &&Client| client.failed.values().sum::<u64>();
        metrics.expect(FAILED, &[service], clients.iter().map(failed).sum())?;
        for client in clients {
            let source = ("source_workload", &*client.name);
            metrics.expect(OPENED, &[service, source], client.all())?;
            metrics.expect(CLOSED, &[service, source], client.all())?;
            metrics.expect(TIMED, &[service, source], client.all())?;
            metrics.expect(FAILED, &[service, source], failed(client))?;
            bytes(&metrics, &[service, source], client.bytes)?;
            for (version, count) in &client.opened {
                let version = ("destination_version", &**version);
                metrics.expect(OPENED, &[service, source, version], *count)?;
            }
        }
        metrics.expect(OPENED, &[service, ("source_workload", "unknown")], 0)
    })
}

#[test]
fn each_client_has_its_own_connections_and_bytes_also_across_a_crash() -> anyhow::Result<()> {
    let mut bed = Testbed::start("edges")?;
    let _servers = bed.serve(Mode::Request, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 3), ("v2", 1)])?;
    let mut shop = Client::new(&bed, "shop")?;
    let mut cart = Client::new(&bed, "cart")?;
    assert_eq!(shop.run(700)?.failed(), 0);
    assert_eq!(cart.run(300)?.failed(), 0);
    assert_exact(&bed, &[&shop, &cart])?;
    let metrics = bed.node.metrics()?;
    let lived = metrics.sum(SECONDS, &[("source_workload", &*shop.name)]);
    assert!((0.001..60.0).contains(&lived), "{lived} s");

    // Some while no agent runs.
    bed.node.kill()?;
    shop.run(100)?;
    cart.run(50)?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    shop.run(10)?;
    assert_exact(&bed, &[&shop, &cart])
}

#[test]
fn failures_are_told_apart_by_cause() -> anyhow::Result<()> {
    let bed = Testbed::start("causes")?;
    // Nobody listens at the second.
    let _servers = bed.serve(Mode::Request, &["v1"])?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    let mut client = Client::new(&bed, "client")?;
    let refused = client.run(200)?.failed();
    assert!(refused > 50, "{refused}");
    assert_exact(&bed, &[&client])?;

    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint("web", "web-v1", "v1", backend(0))
        .config("web", "  timeouts: {connect: 300ms}\n  retry: {attempts: 2}\n");
    bed.meshctl.ok(&["delete", "endpoint", "web-v2"])?;
    bed.meshctl.apply(&manifest)?;
    firewall::drop_port(&bed.netns, PORT)?;
    let silent = client.run(3)?.failed();
    assert_eq!(silent, 3);
    firewall::open(&bed.netns)?;
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let source = ("source_workload", &*client.name);
        metrics.expect(CAUSES, &[source, ("cause", "refused")], refused)?;
        metrics.expect(CAUSES, &[source, ("cause", "timed_out")], silent)?;
        metrics.expect(CAUSES, &[], refused + silent)?;
        metrics.expect(FAILED, &[], refused + silent)
    })
}

#[test]
fn endpoints_clients_and_agents_come_and_go_and_every_connection_is_counted_once()
-> anyhow::Result<()> {
    let mut bed = Testbed::start("comego")?;
    let _servers = bed.serve(Mode::Request, &["v1", "v2", "v3"])?;
    let manifest = Manifest::new().service("web", VIP, PORT);
    let manifest = manifest.endpoint("web", "web-v1", "v1", backend(0));
    bed.meshctl.apply(&manifest.endpoint("web", "web-v2", "v2", backend(1)))?;
    let mut brief = Client::new(&bed, "brief")?;
    let mut steady = Client::new(&bed, "steady")?;
    assert_eq!(brief.run(200)?.failed(), 0);
    let traffic = Traffic::start(&steady.place, Plan::to(VIP, Mode::Request))?;
    traffic.wait_for(200, PATIENCE)?;

    // Its place in the map goes, and is given to another.
    bed.meshctl.ok(&["delete", "endpoint", "web-v2"])?;
    traffic.wait_for(200, PATIENCE)?;
    bed.node.replace()?;
    let third = Manifest::new().endpoint("web", "web-v3", "v3", backend(2));
    bed.meshctl.apply(&third)?;
    traffic.wait_for(200, PATIENCE)?;
    bed.node.replace()?;
    // The same endpoint has another version from here on, while it is used.
    let renamed = Manifest::new().endpoint("web", "web-v3", "v4", backend(2));
    bed.meshctl.apply(&renamed)?;
    bed.meshctl.apply(&Manifest::new().endpoint("web", "web-v2", "v2", backend(1)))?;
    traffic.wait_for(200, PATIENCE)?;
    bed.node.kill()?;
    traffic.wait_for(200, PATIENCE)?;
    brief.run(10)?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    steady.note(&outcome);
    // The server goes on to call itself by its first name.
    let third = ["v3", "v4"];
    let sum = |client: &mut Client| third.map(|it| client.opened.remove(it).unwrap_or(0));
    let moved = [sum(&mut brief), sum(&mut steady)].concat().iter().sum::<u64>();
    assert!(moved > 0);
    check_moved(&bed, &[&brief, &steady], &third, moved)?;

    // Who has gone is still called by its name.
    brief.cgroup.remove();
    bed.node.replace()?;
    check_moved(&bed, &[&brief, &steady], &third, moved)
}

/// Compares each client's connections by version, and those of versions that are counted together.
fn check_moved(
    bed: &Testbed,
    clients: &[&Client],
    together: &[&str],
    moved: u64,
) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let service = ("destination_service_name", "web");
        for client in clients {
            let source = ("source_workload", &*client.name);
            for (version, count) in &client.opened {
                let version = ("destination_version", &**version);
                metrics.expect(OPENED, &[service, source, version], *count)?;
            }
        }
        let of =
            |version: &&str| metrics.sum(OPENED, &[service, ("destination_version", *version)]);
        let found: f64 = together.iter().map(of).sum();
        if (found - float(moved)).abs() > 0.5 {
            return Err(format!("{together:?}: {found} instead of {moved}"));
        }
        let all: u64 = clients.iter().map(|client| client.all()).sum();
        metrics.expect(OPENED, &[service], all + moved)?;
        metrics.expect(CLOSED, &[service], all + moved)?;
        bytes(&metrics, &[service], clients.iter().map(|client| client.bytes).sum())?;
        metrics.expect(OPENED, &[service, ("source_workload", "unknown")], 0)
    })
}

#[test]
fn who_finds_no_room_is_unknown_and_nothing_is_lost() -> anyhow::Result<()> {
    let mut bed = Testbed::start("full")?;
    let _servers = bed.serve(Mode::Request, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;
    let mut first = Client::new(&bed, "first")?;
    first.run(100)?;
    assert_exact(&bed, &[&first])?;
    let pin = MapData::from_pin(bed.node.map(names::EDGES))?;
    let mut map: PerCpuHashMap<_, EdgeKey, EdgeCounters> =
        PerCpuHashMap::try_from(Map::PerCpuHashMap(pin))?;
    let own = first.cgroup.id()?;
    let used: Vec<EdgeKey> = map.keys().collect::<Result<_, _>>()?;
    let live = used.iter().find(|key| key.cgroup == own).copied();
    let live = live.ok_or_else(|| anyhow::anyhow!("no edge of {own} in {used:?}"))?;
    let nothing = vec![EdgeCounters::ZERO; aya::util::nr_cpus().map_err(|(_, error)| error)?];
    let mut number = 0;
    let mut fill = || {
        let full = (0..=ROOM).find(|_| {
            number += 1;
            let key = EdgeKey { cgroup: u64::MAX - number, ..live };
            let value = PerCpuValues::try_from(nothing.clone()).expect("a value for each CPU");
            map.insert(key, value, 0).is_err()
        });
        assert!(full.is_some(), "it takes more than {ROOM}");
    };
    let service = ("destination_service_name", "web");
    let unknown = ("source_workload", "unknown");
    // The agent may take out edges of its own trials at any time, which makes room again.
    let mut late = Vec::new();
    for name in ["late", "later", "last"] {
        fill();
        let mut client = Client::new(&bed, name)?;
        client.run(50)?;
        late.push(client);
        if bed.node.metrics()?.sum(OPENED, &[service, unknown]) > 0.0 {
            break;
        }
    }
    first.run(20)?;
    for start_again in [false, true] {
        if start_again {
            bed.node.replace()?;
        }
        eventually(|| {
            let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
            let all: Vec<&Client> = late.iter().chain([&first]).collect();
            for name in [OPENED, CLOSED] {
                metrics.expect(name, &[service], all.iter().map(|client| client.all()).sum())?;
                let first_one = ("source_workload", &*first.name);
                metrics.expect(name, &[service, first_one], first.all())?;
                let of = |client: &Client| {
                    metrics.sum(name, &[service, ("source_workload", &*client.name)])
                };
                let known: f64 = late.iter().map(of).sum();
                let rest = metrics.sum(name, &[service, unknown]);
                let made = float(late.iter().map(Client::all).sum());
                // One that found no room when it was opened may have found some when it ended.
                let too_few = name == OPENED && rest < 1.0;
                if too_few || (known + rest - made).abs() > 0.5 {
                    return Err(format!("{name}: {known} known, {rest} unknown, of {made}"));
                }
            }
            bytes(&metrics, &[service], all.iter().map(|client| client.bytes).sum())?;
            let without = metrics.sum("mesh_bpf_exits_total", &[("reason", "edges_full")]);
            if without > 0.0 { Ok(()) } else { Err("edges_full is not counted".to_owned()) }
        })?;
    }
    Ok(())
}
