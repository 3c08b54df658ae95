//! UDP flows by who makes them, of sockets with `connect()` and without: each client's metrics are what
//! that client has opened, whoever ends it, and all rows together are what backends have.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::metrics::Metrics;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend, mapped};
use mesh_tests::traffic::{Flows, Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const TIMED: &str = "mesh_tcp_timed_connections_total";
const SERVICE: (&str, &str) = ("destination_service_name", "web");
const UDP: (&str, &str) = ("request_protocol", "udp");
const UNKNOWN: &str = "unknown";

const MODES: [Mode; 2] = [Mode::Udp, Mode::UdpSendto];
const LASTING: NonZeroU32 = NonZeroU32::new(3).unwrap();
const PATIENCE: Duration = Duration::from_secs(20);

/// A service over UDP with one endpoint for each version.
fn start(what: &str, versions: &[&str]) -> anyhow::Result<(Testbed, Backends)> {
    let bed = Testbed::start(what)?;
    let servers = bed.serve(Mode::Udp, versions)?;
    let ports = [("main", VIP.port(), PORT, "UDP")];
    let mut manifest = Manifest::new().service_at("web", &[(*VIP.ip()).into()], &ports, "");
    for (ip, version) in (0..).map(backend).zip(versions) {
        manifest = manifest.endpoint("web", &format!("web-{version}"), version, ip);
    }
    bed.meshctl.apply(&manifest)?;
    Ok((bed, servers))
}

/// Ends the agent as nobody should, and starts another one with these flags for edges.
fn restart(bed: &mut Testbed, edges: &str) -> anyhow::Result<()> {
    bed.node.kill()?;
    bed.node.set_flags(&[&SMALL[..], &["--edges", edges]].concat());
    bed.node.run()?;
    bed.node.wait_ready()
}

/// A client in a cgroup of its own, and what it has opened and closed.
struct Client {
    cgroup: Cgroup,
    /// As the metrics call it.
    name: String,
    place: Place,
    target: SocketAddr,
    opened: u64,
    closed: u64,
}

impl Client {
    fn new(bed: &Testbed, name: &str, target: SocketAddr) -> anyhow::Result<Self> {
        let cgroup = bed.node.cgroup().child(name)?;
        let name = bed.node.workload(name);
        let place = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        Ok(Self { cgroup, name, place, target, opened: 0, closed: 0 })
    }

    /// Opens so many sockets of each kind, one after the other, and closes each.
    fn run(&mut self, count: u64) -> anyhow::Result<()> {
        for mode in MODES {
            let outcome = Traffic::run(&self.place, Plan::to(self.target, mode), count)?;
            assert_eq!((outcome.total(), outcome.failed()), (count, 0), "{:?}", outcome.failures());
            self.opened += count;
            self.closed += count;
        }
        Ok(())
    }

    /// Opens sockets of each kind that stay.
    fn stay(&mut self) -> anyhow::Result<Vec<Traffic>> {
        let mut all = Vec::new();
        for mode in MODES {
            let flows = Flows { flows: LASTING, ..Flows::to(self.target, mode) };
            let traffic = Traffic::flows(&self.place, &flows)?;
            traffic.wait_for(100, PATIENCE)?;
            self.opened += u64::from(LASTING.get());
            all.push(traffic);
        }
        Ok(all)
    }

    /// Closes them, whoever holds them now.
    fn close(&mut self, traffic: Vec<Traffic>) -> anyhow::Result<()> {
        for it in traffic {
            let outcome = it.stop()?;
            assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
            self.closed += u64::from(LASTING.get());
        }
        Ok(())
    }
}

fn expect(metrics: &Metrics, source: &str, opened: u64, closed: u64) -> Result<(), String> {
    let labels = [SERVICE, UDP, ("source_workload", source)];
    metrics.expect(OPENED, &labels, opened)?;
    metrics.expect(CLOSED, &labels, closed)?;
    metrics.expect(TIMED, &labels, 0)
}

/// Each client has what it has opened and closed, nobody the rest, and there is nothing else.
fn assert_exact(bed: &Testbed, clients: &[&Client], nobody: (u64, u64)) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        for client in clients {
            expect(&metrics, &client.name, client.opened, client.closed)?;
        }
        expect(&metrics, UNKNOWN, nobody.0, nobody.1)?;
        let sum = |of: fn(&Client) -> u64| clients.iter().map(|it| of(it)).sum::<u64>();
        metrics.expect(OPENED, &[SERVICE], sum(|it| it.opened) + nobody.0)?;
        metrics.expect(CLOSED, &[SERVICE], sum(|it| it.closed) + nobody.1)
    })
}

#[test]
fn each_client_has_its_own_flows_also_across_a_crash() -> anyhow::Result<()> {
    let (mut bed, _servers) = start("edgesudp", &["v1", "v2"])?;
    let mut shop = Client::new(&bed, "shop", VIP.into())?;
    let mut cart = Client::new(&bed, "cart", mapped(VIP.into()))?;
    shop.run(70)?;
    cart.run(30)?;
    assert_exact(&bed, &[&shop, &cart], (0, 0))?;

    let held = [shop.stay()?, cart.stay()?];
    assert_exact(&bed, &[&shop, &cart], (0, 0))?;
    // Some end, and others begin, while no agent runs.
    bed.node.kill()?;
    let [shops, carts] = held;
    shop.close(shops)?;
    shop.run(20)?;
    cart.run(10)?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    assert_exact(&bed, &[&shop, &cart], (0, 0))?;
    cart.close(carts)?;
    cart.run(5)?;
    assert_exact(&bed, &[&shop, &cart], (0, 0))?;

    // As the control plane has it from the reports.
    eventually(|| {
        let said = bed.meshctl.ok(&["stat", "edge", "web", "-o", "json"]);
        let said = said.map_err(|error| error.to_string())?.stdout;
        let json: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        for client in [&shop, &cart] {
            let rows = json["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
            let row = rows.iter().find(|row| row["sourceWorkload"] == *client.name);
            let total = &row.ok_or_else(|| format!("no {} in {said}", client.name))?["total"];
            if total["opened"] != client.opened || total["closed"] != client.closed {
                return Err(format!("{}: not {} in {said}", client.name, client.opened));
            }
        }
        Ok(())
    })
}

#[test]
fn a_flow_is_of_who_has_opened_it_whoever_ends_it() -> anyhow::Result<()> {
    let (bed, _servers) = start("udpheir", &["v1"])?;
    let mut first = Client::new(&bed, "first", VIP.into())?;
    let mut heir = Client::new(&bed, "heir", VIP.into())?;
    let held = first.stay()?;
    for process in fs::read_to_string(first.cgroup.path().join("cgroup.procs"))?.lines() {
        fs::write(heir.cgroup.path().join("cgroup.procs"), process)?;
    }
    heir.run(5)?;
    first.close(held)?;
    assert_exact(&bed, &[&first, &heir], (0, 0))
}

#[test]
fn what_was_opened_while_nobody_was_counted_stays_nobodys() -> anyhow::Result<()> {
    let (mut bed, _servers) = start("udpoff", &["v1"])?;
    let mut client = Client::new(&bed, "client", VIP.into())?;
    restart(&mut bed, "off")?;
    let held = client.stay()?;
    let opened = std::mem::take(&mut client.opened);
    assert_exact(&bed, &[&client], (opened, 0))?;
    restart(&mut bed, "on")?;
    client.run(5)?;
    assert_exact(&bed, &[&client], (opened, 0))?;
    client.close(held)?;
    client.closed -= opened;
    assert_exact(&bed, &[&client], (opened, opened))
}

#[test]
fn flows_that_leave_a_removed_backend_keep_their_client() -> anyhow::Result<()> {
    let (mut bed, _servers) = start("udpgone", &["v1", "v2"])?;
    let mut client = Client::new(&bed, "client", VIP.into())?;
    let held = client.stay()?;
    assert_exact(&bed, &[&client], (0, 0))?;
    bed.meshctl.ok(&["delete", "endpoint", "web-v1"])?;
    eventually(|| {
        let stuck = held.iter().map(|it| it.peek().names_by_flow()).any(|names| {
            names.values().any(|names| names.last().is_some_and(|name| &**name == "v1"))
        });
        if stuck { Err("a flow still uses a removed backend".to_owned()) } else { Ok(()) }
    })?;
    for traffic in held {
        traffic.stop()?;
    }
    restart(&mut bed, "on")?;
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let of = |name, source| metrics.sum(name, &[SERVICE, UDP, ("source_workload", source)]);
        let (opened, closed) = (of(OPENED, &*client.name), of(CLOSED, &*client.name));
        let nobody = (of(OPENED, UNKNOWN), of(CLOSED, UNKNOWN));
        // At most one each that had to go, and none but those.
        let goes = (6.0..=12.0).contains(&opened);
        if goes && (opened - closed).abs() < 0.5 && nobody == (0.0, 0.0) {
            return Ok(());
        }
        Err(format!("{opened} opened, {closed} closed, nobody: {nobody:?}"))
    })
}
