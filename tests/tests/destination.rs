//! Connections as the endpoint's node counts them: all that arrive, whoever makes them, each once, and
//! with the bytes that the applications at both ends have counted.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuHashMap, PerCpuValues};
use mesh_common::addr::IpKey;
use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};
use mesh_common::{limits, names};
use mesh_tests::backend::Backends;
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::maps::pairs;
use mesh_tests::metrics::Metrics;
use mesh_tests::netns::{FAR, NetNs};
use mesh_tests::node::Node;
use mesh_tests::process::Place;
use mesh_tests::require;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, VIP6, backend, backend6};
use mesh_tests::traffic::{Flows, Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
/// Bytes of requests, as the server sees them.
const RECEIVED: &str = "istio_tcp_received_bytes_total";
const SENT: &str = "istio_tcp_sent_bytes_total";
const TIMED: &str = "mesh_tcp_timed_connections_total";

const PATIENCE: Duration = Duration::from_secs(30);
const HERE: (&str, &str) = ("reporter", "destination");
const SERVICE: (&str, &str) = ("destination_service_name", "web");
/// Address that clients in the testbed have.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What clients have counted.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    connections: u64,
    sent: u64,
    received: u64,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
        self.connections += outcome.total();
        self.sent += outcome.sent;
        self.received += outcome.received;
    }

    /// Compares it with the rows that have these labels.
    fn is_counted(&self, metrics: &Metrics, labels: &[(&str, &str)]) -> Result<(), String> {
        metrics.expect(OPENED, labels, self.connections)?;
        metrics.expect(CLOSED, labels, self.connections)?;
        metrics.expect(TIMED, labels, self.connections)?;
        metrics.expect(RECEIVED, labels, self.sent)?;
        metrics.expect(SENT, labels, self.received)
    }
}

/// An endpoint of the testbed's node.
fn endpoint(manifest: Manifest, bed: &str, version: &str, number: u8) -> Manifest {
    let more = format!("  node: {bed}\n  workload: web-{version}\n");
    manifest.endpoint_with("web", &format!("web-{version}"), version, backend(number), &more)
}

fn web(bed: &str) -> Manifest {
    let manifest = Manifest::new().service("web", VIP, PORT);
    endpoint(endpoint(manifest, bed, "v1", 0), bed, "v2", 1)
}

fn serve(bed: &Testbed, mode: Mode, servers: &[(&str, SocketAddr)]) -> anyhow::Result<Backends> {
    Backends::start(&bed.node.place(), mode, servers)
}

fn at(number: u8) -> SocketAddr {
    SocketAddrV4::new(backend(number), PORT).into()
}

/// A client without the mesh.
fn outside(bed: &Testbed) -> Place {
    Place::in_netns(&bed.netns)
}

fn check(bed: &Testbed, expected: &[(&[(&str, &str)], Sum)]) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        expected.iter().try_for_each(|(labels, sum)| {
            let labels: Vec<_> =
                [HERE, SERVICE].into_iter().chain(labels.iter().copied()).collect();
            sum.is_counted(&metrics, &labels)
        })
    })
}

#[test]
fn both_ends_count_what_the_applications_do_also_across_a_crash() -> anyhow::Result<()> {
    for (name, mode) in [("reset", Mode::Request), ("fin", Mode::Http)] {
        let mut bed = Testbed::start(name)?;
        let _servers = serve(&bed, mode, &[("v1", at(0)), ("v2", at(1))])?;
        bed.meshctl.apply(&web(name))?;
        let cgroup: Cgroup = bed.node.cgroup().child("shop")?;
        let client = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        let (mut meshed, mut direct) = (Sum::default(), Sum::default());
        meshed.add(&Traffic::run(&client, Plan::to(VIP, mode), 300)?);
        direct.add(&Traffic::run(&outside(&bed), Plan::to(at(0), mode), 200)?);
        bed.node.kill()?;
        meshed.add(&Traffic::run(&client, Plan::to(VIP, mode), 50)?);
        direct.add(&Traffic::run(&outside(&bed), Plan::to(at(1), mode), 20)?);
        bed.node.run()?;
        bed.node.wait_ready()?;
        meshed.add(&Traffic::run(&client, Plan::to(VIP, mode), 50)?);
        let all = Sum {
            connections: meshed.connections + direct.connections,
            sent: meshed.sent + direct.sent,
            received: meshed.received + direct.received,
        };
        check(&bed, &[(&[], all), (&[("source_workload", "unknown")], all)])?;
        let metrics = bed.node.metrics()?;
        let source = [("reporter", "source"), SERVICE];
        meshed.is_counted(&metrics, &source).map_err(anyhow::Error::msg)?;
        bed.node.replace()?;
        check(&bed, &[(&[], all)])?;
    }
    Ok(())
}

#[test]
fn clients_are_known_by_their_addresses_and_endpoints_by_what_they_are_when_asked()
-> anyhow::Result<()> {
    let name = "peers";
    let mut bed = Testbed::start(name)?;
    let mode = Mode::Request;
    let _servers = serve(&bed, mode, &[("v1", at(0)), ("v2", at(1))])?;
    bed.meshctl.apply(&web(name))?;
    let (client, plan) = (outside(&bed), |to| Plan::to(at(to), mode));
    let (mut unknown, mut first, mut second) = <(Sum, Sum, Sum)>::default();
    unknown.add(&Traffic::run(&client, plan(0), 30)?);
    // From here on it is known whose the address is.
    let shop =
        Manifest::new().service("shop", SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80), 1);
    let workload = |name: &str| format!("  workload: {name}\n");
    let shop = shop.endpoint_with("shop", "shop-1", "v1", CLIENT, &workload("shop"));
    bed.meshctl.apply(&shop)?;
    first.add(&Traffic::run(&client, plan(0), 40)?);
    // While an endpoint and a client become something else, and a connection is open.
    let traffic = Traffic::start(&client, plan(0))?;
    traffic.wait_for(100, PATIENCE)?;
    let cart = Manifest::new().endpoint_with("shop", "shop-1", "v1", CLIENT, &workload("cart"));
    bed.meshctl.apply(&endpoint(cart, name, "v3", 0))?;
    bed.meshctl.ok(&["delete", "endpoint", "web-v1"])?;
    traffic.wait_for(100, PATIENCE)?;
    bed.node.replace()?;
    traffic.wait_for(100, PATIENCE)?;
    let changing = traffic.stop()?;
    second.add(&Traffic::run(&client, plan(0), 50)?);
    let all = Sum {
        connections: unknown.connections + first.connections + second.connections,
        sent: unknown.sent + first.sent + second.sent,
        received: unknown.received + first.received + second.received,
    };
    let mut every = all;
    every.add(&changing);
    check(&bed, &[(&[], every), (&[("source_workload", "unknown")], unknown)])?;
    let metrics = bed.node.metrics()?;
    let of = |source: &str, version: &str| {
        let labels = [HERE, SERVICE, ("source_workload", source), ("destination_version", version)];
        metrics.sum(OPENED, &labels)
    };
    assert!(of("shop", "v1") >= 140.0, "{}", of("shop", "v1"));
    assert!(of("cart", "v3") >= 150.0, "{}", of("cart", "v3"));
    // The endpoint that has gone keeps what it has counted, and the map is emptied of it.
    let entries = |bed: &Testbed| {
        Ok::<_, anyhow::Error>(
            bed.node.metrics()?.sum("mesh_bpf_map_entries", &[("map", "inbound")]),
        )
    };
    eventually(|| match entries(&bed) {
        // Of both endpoints that of unknown clients, and one of the cart.
        Ok(count) if (2.5..3.5).contains(&count) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    check(&bed, &[(&[], every), (&[("source_workload", "unknown")], unknown)])
}

#[test]
fn listeners_of_both_families_are_counted() -> anyhow::Result<()> {
    if !require::ipv6() {
        return Ok(());
    }
    let name = "families";
    let bed = Testbed::start(name)?;
    let mode = Mode::Request;
    let six = SocketAddr::from(SocketAddrV6::new(backend6(0), PORT, 0, 0));
    // One of IPv6 for both families, as most programs have.
    let any = SocketAddr::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT + 1, 0, 0));
    let _servers = serve(&bed, mode, &[("six", six), ("any", any)])?;
    let vips = [VIP6.ip().to_owned().into(), VIP.ip().to_owned().into()];
    let ports = [("main", 80, PORT, "TCP"), ("other", 81, PORT + 1, "TCP")];
    let node = format!("  node: {name}\n");
    let manifest = Manifest::new()
        .service_at("web", &vips, &ports, "")
        .endpoint_with("web", "web-6", "six", backend6(0), &node)
        .endpoint_with("web", "web-4", "any", backend(7), &node);
    bed.meshctl.apply(&manifest)?;
    let (mut of_six, mut of_four) = <(Sum, Sum)>::default();
    of_six.add(&Traffic::run(&bed.node.place(), Plan::to(VIP6, mode), 40)?);
    let mapped = SocketAddrV4::new(*VIP.ip(), 81);
    of_four.add(&Traffic::run(&bed.node.place(), Plan::to(mapped, mode), 30)?);
    let mapped = SocketAddrV6::new(backend(7).to_ipv6_mapped(), PORT + 1, 0, 0);
    of_four.add(&Traffic::run(&outside(&bed), Plan::to(mapped, mode), 20)?);
    let version = |version| [("destination_version", version)];
    check(&bed, &[(&version("six"), of_six), (&version("any"), of_four)])
}

#[test]
fn without_room_a_client_is_unknown_and_nothing_is_lost() -> anyhow::Result<()> {
    let name = "crowd";
    let mut bed = Testbed::start(name)?;
    let mode = Mode::Request;
    let _servers = serve(&bed, mode, &[("v1", at(0)), ("v2", at(1))])?;
    let ip = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80);
    let shop = Manifest::new().service("shop", ip, 1);
    let shop = shop.endpoint_with("shop", "shop-1", "v1", CLIENT, "  workload: shop\n");
    bed.meshctl.apply(&web(name))?;
    bed.meshctl.apply(&shop)?;
    let (client, plan) = (outside(&bed), |to| Plan::to(at(to), mode));
    let (mut known, mut unknown) = <(Sum, Sum)>::default();
    known.add(&Traffic::run(&client, plan(0), 30)?);
    // Fills what is left of the map with clients of the same endpoint.
    let locals = MapData::from_pin(bed.node.map(names::LOCALS))?;
    let locals: HashMap<_, FrontendKey, EndpointId> = HashMap::try_from(Map::HashMap(locals))?;
    let place = FrontendKey::new(IpKey::from_v4(backend(0)), PORT, 6);
    let endpoint = locals.get(&place, 0)?;
    let pin = MapData::from_pin(bed.node.map(names::INBOUND))?;
    let mut map: PerCpuHashMap<_, InboundKey, EdgeCounters> =
        PerCpuHashMap::try_from(Map::PerCpuHashMap(pin))?;
    // With a connection each, they stay.
    let mut one = vec![EdgeCounters { opened: 1, ..EdgeCounters::ZERO }];
    one.resize(aya::util::nr_cpus().map_err(|(_, error)| error)?, EdgeCounters::ZERO);
    let full = (0..=u64::from(limits::MAX_INBOUND)).find(|number| {
        let key = InboundKey { endpoint, client: ClientId { number: u64::MAX - number } };
        let value = || PerCpuValues::try_from(one.clone()).expect("a value for each CPU");
        loop {
            match map.insert(key, value(), 0) {
                Ok(()) => return false,
                // The kernel's allocator for maps is being filled again.
                Err(MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOMEM) =>
                {
                    std::thread::yield_now();
                }
                Err(_) => return true,
            }
        }
    });
    let strangers = full.ok_or_else(|| anyhow::anyhow!("there is more room"))?;
    // This one has an entry, and for the other there is none.
    known.add(&Traffic::run(&client, plan(0), 40)?);
    unknown.add(&Traffic::run(&client, plan(1), 50)?);
    for start_again in [false, true] {
        if start_again {
            bed.node.replace()?;
        }
        eventually(|| {
            let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
            let (v1, v2) = (("destination_version", "v1"), ("destination_version", "v2"));
            known.is_counted(&metrics, &[HERE, SERVICE, v1, ("source_workload", "shop")])?;
            unknown.is_counted(&metrics, &[HERE, SERVICE, v2])?;
            let without_name = [HERE, SERVICE, v2, ("source_workload", "unknown")];
            if metrics.sum(OPENED, &without_name) < 1.0 {
                return Err("nobody found no room".to_owned());
            }
            metrics.expect(OPENED, &[HERE, v1], known.connections + strangers)?;
            let without = metrics.sum("mesh_bpf_exits_total", &[("reason", "inbound_full")]);
            if without > 0.0 { Ok(()) } else { Err("inbound_full is not counted".to_owned()) }
        })?;
    }
    Ok(())
}

#[test]
fn each_node_counts_its_own_end_and_the_control_plane_keeps_them_apart() -> anyhow::Result<()> {
    let bed = Testbed::start("near")?;
    let mut far = Node::prepare(&bed.netns, "far", &SMALL)?;
    far.set_http(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15120));
    far.run()?;
    far.wait_ready()?;
    // The servers of the second node are in a network namespace of their own.
    let there = NetNs::create("far")?;
    bed.netns.connect(&there)?;
    let mode = Mode::Http;
    let place = Place::in_netns(&there).and_cgroup(far.cgroup());
    let address = SocketAddrV4::new(FAR, PORT);
    let _servers = Backends::start(&place, mode, &[("v1", address)])?;
    let manifest = Manifest::new().service("web", VIP, PORT).endpoint_with(
        "web",
        "web-1",
        "v1",
        FAR,
        "  node: far\n  workload: web\n",
    );
    bed.meshctl.apply(&manifest)?;
    far.wait_ready()?;
    eventually(|| match far.dump() {
        Ok(dump) if dump.contains(&format!("INBOUND {address} ")) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let mut sum = Sum::default();
    sum.add(&Traffic::run(&bed.node.place(), Plan::to(VIP, mode), 200)?);
    let source = ("reporter", "source");
    eventually(|| {
        let near = bed.node.metrics().map_err(|error| error.to_string())?;
        let far = far.metrics().map_err(|error| error.to_string())?;
        sum.is_counted(&near, &[source, SERVICE])?;
        sum.is_counted(&far, &[HERE, SERVICE, ("destination_workload", "web")])?;
        Sum::default().is_counted(&near, &[HERE, SERVICE])?;
        Sum::default().is_counted(&far, &[source, SERVICE])
    })?;
    eventually(|| {
        for reporter in ["source", "destination"] {
            let args = ["stat", "service", "web", "--reporter", reporter, "-o", "json"];
            let said = bed.meshctl.ok(&args).map_err(|error| error.to_string())?.stdout;
            let json: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
            let total = &json["rows"][0]["total"];
            let number = |name: &str| total[name].as_u64().unwrap_or_default();
            let found = (number("opened"), number("closed"), number("bytesSent"));
            if found != (sum.connections, sum.connections, sum.sent) {
                return Err(format!("{reporter}: {found:?} instead of {sum:?} in {said}"));
            }
        }
        Ok(())
    })
}

#[test]
fn bytes_that_went_past_tcp_are_counted_at_both_ends() -> anyhow::Result<()> {
    let name = "past";
    let bed = Testbed::start(name)?;
    let _servers = serve(&bed, Mode::Ping, &[("v1", at(0)), ("v2", at(1))])?;
    bed.meshctl.apply(&web(name).config("web", "  acceleration: \"On\"\n"))?;
    let mut sum = Sum::default();
    let plan = Flows::to(VIP, Mode::Ping);
    // A place among the connections is used again and again.
    for _ in 0..40 {
        let outcome = Traffic::run_flows(&bed.node.place(), &plan, 20)?;
        assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
        sum.connections += 1;
        sum.sent += outcome.sent;
        sum.received += outcome.received;
    }
    check(&bed, &[(&[], sum)])?;
    let metrics = bed.node.metrics()?;
    sum.is_counted(&metrics, &[("reporter", "source"), SERVICE]).map_err(anyhow::Error::msg)?;
    let redirected: u64 = pairs(&bed.node)?.iter().map(|pair| pair.sent.bytes).sum();
    assert!(redirected > 0, "nothing went past TCP");
    Ok(())
}
