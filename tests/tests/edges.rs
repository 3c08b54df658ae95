//! Connections by who makes them: each client's metrics are what that client has counted, and all
//! rows together are what everybody has.

use std::collections::BTreeMap;

use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::metrics::Metrics;
use mesh_tests::process::Place;
use mesh_tests::stats::float;
use mesh_tests::testbed::{Testbed, VIP};
use mesh_tests::traffic::{Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const FAILED: &str = "istio_tcp_connections_failed_total";
const SENT: &str = "istio_tcp_sent_bytes_total";
const RECEIVED: &str = "istio_tcp_received_bytes_total";
const TIMED: &str = "mesh_tcp_timed_connections_total";
const SECONDS: &str = "mesh_tcp_connection_duration_seconds_total";

/// A client in a cgroup of its own, and what it has counted.
struct Client {
    _cgroup: Cgroup,
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
        let above = bed.node.cgroup().path().file_name().unwrap_or_default().to_string_lossy();
        let name = format!("/{above}/{name}");
        let place = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        let (opened, failed) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { _cgroup: cgroup, name, place, opened, failed, bytes: 0 })
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

fn expect(
    metrics: &Metrics,
    name: &str,
    labels: &[(&str, &str)],
    value: u64,
) -> Result<(), String> {
    let found = metrics.sum(name, labels);
    if (found - float(value)).abs() < 0.5 {
        return Ok(());
    }
    Err(format!("{name}{labels:?}: {found} instead of {value}"))
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
        expect(&metrics, OPENED, &[service], all)?;
        expect(&metrics, CLOSED, &[service], all)?;
        bytes(&metrics, &[service], clients.iter().map(|client| client.bytes).sum())?;
        let failed = |client: &&Client| client.failed.values().sum::<u64>();
        expect(&metrics, FAILED, &[service], clients.iter().map(failed).sum())?;
        for client in clients {
            let source = ("source_workload", &*client.name);
            expect(&metrics, OPENED, &[service, source], client.all())?;
            expect(&metrics, CLOSED, &[service, source], client.all())?;
            expect(&metrics, TIMED, &[service, source], client.all())?;
            expect(&metrics, FAILED, &[service, source], failed(client))?;
            bytes(&metrics, &[service, source], client.bytes)?;
            for (version, count) in &client.opened {
                let version = ("destination_version", &**version);
                expect(&metrics, OPENED, &[service, source, version], *count)?;
            }
        }
        expect(&metrics, OPENED, &[service, ("source_workload", "unknown")], 0)
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
