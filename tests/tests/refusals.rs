//! What services refuse, by who asked and by why: each client's metrics are what that client has
//! counted, and all rows together are what everybody has.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuHashMap, PerCpuValues};
use mesh_common::names;
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_tests::cgroup::Cgroup;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::require;
use mesh_tests::stats::float;
use mesh_tests::testbed::{PORT, Testbed, VIP, VIP6, backend};
use mesh_tests::traffic::{Flows, Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

const WITHOUT: &str = "mesh_tcp_connects_without_backend_total";
/// Most pairs of a client and a service.
const ROOM: u64 = 4_096;
/// What a service says that refuses.
const EHOSTUNREACH: &str = "113";

const EMPTY: SocketAddrV4 = vip(20);
const FULL: SocketAddrV4 = vip(21);
const BROKEN: SocketAddrV4 = vip(22);
const NEXT: SocketAddrV4 = vip(23);

const fn vip(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::new(10, 96, 0, last), 80)
}

/// A client in a cgroup of its own, and what it was refused, by service and reason.
struct Client {
    _cgroup: Cgroup,
    name: String,
    place: Place,
    refused: BTreeMap<(&'static str, &'static str), u64>,
}

impl Client {
    fn new(bed: &Testbed, name: &str) -> anyhow::Result<Self> {
        let cgroup = bed.node.cgroup().child(name)?;
        let name = bed.node.workload(name);
        let place = Place::in_netns(&bed.netns).and_cgroup(&cgroup);
        Ok(Self { _cgroup: cgroup, name, place, refused: BTreeMap::new() })
    }

    fn note(&mut self, service: &'static str, reason: &'static str, outcome: &Outcome) -> u64 {
        let count = outcome.failures().get(EHOSTUNREACH).copied().unwrap_or(0);
        *self.refused.entry((service, reason)).or_default() += count;
        count
    }

    /// Asks a service that refuses every time.
    fn ask(
        &mut self,
        (service, vip): (&'static str, impl Into<SocketAddr>),
        reason: &'static str,
        count: u64,
    ) -> anyhow::Result<()> {
        let outcome = Traffic::run(&self.place, Plan::to(vip, Mode::Greet), count)?;
        assert_eq!(self.note(service, reason, &outcome), count, "{:?}", outcome.failures());
        Ok(())
    }

    fn all(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Compares what each client has counted with its rows, and with all rows.
fn assert_exact(bed: &Testbed, clients: &[&Client]) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let refused = ("outcome", "refused");
        metrics.expect(WITHOUT, &[refused], clients.iter().map(|client| client.all()).sum())?;
        for client in clients {
            let source = ("source_workload", &*client.name);
            metrics.expect(WITHOUT, &[refused, source], client.all())?;
            for ((service, reason), count) in &client.refused {
                let service = format!("{service}.default");
                let labels =
                    [refused, source, ("destination_service", &*service), ("reason", *reason)];
                metrics.expect(WITHOUT, &labels, *count)?;
            }
        }
        metrics.expect(WITHOUT, &[refused, ("source_workload", "unknown")], 0)
    })
}

/// The control plane has it as well.
fn assert_told(bed: &Testbed, clients: &[&Client]) -> anyhow::Result<()> {
    eventually(|| {
        let said = bed.meshctl.ok(&["stat", "edge", "-o", "json"]);
        let said = said.map_err(|error| format!("{error:#}"))?.stdout;
        let json: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let rows = json["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        let refused = rows.iter().filter_map(|row| row["total"]["refused"].as_u64());
        let all: u64 = clients.iter().map(|client| client.all()).sum();
        if refused.sum::<u64>() != all {
            return Err(format!("not {all}: {json}"));
        }
        for client in clients {
            for ((service, reason), count) in &client.refused {
                let of_it = rows.iter().filter(|row| {
                    row["sourceWorkload"] == *client.name && row["service"] == **service
                });
                let found = of_it.filter_map(|row| row["total"]["refusals"][*reason].as_u64());
                if found.sum::<u64>() != *count {
                    return Err(format!("{} {service} {reason} not {count}: {json}", client.name));
                }
            }
        }
        Ok(())
    })
}

#[test]
fn each_client_has_its_own_refusals_by_reason_also_across_a_crash() -> anyhow::Result<()> {
    let mut bed = Testbed::start("refusals")?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    let config = "  circuitBreaker: {maxFailures: 3, window: 1h, resetTimeout: 1h}\n";
    let udp = [("main", 80, PORT, "UDP")];
    let silent = vip(30);
    let mut manifest = Manifest::new()
        .service("empty", EMPTY, PORT)
        .service_at("silent", &[(*silent.ip()).into()], &udp, "")
        .service("full", FULL, PORT)
        .endpoint("full", "full-1", "v1", backend(0))
        .config("full", "  circuitBreaker: {maxConnections: 1}\n")
        .service("broken", BROKEN, PORT)
        .endpoint("broken", "broken-1", "v1", backend(9))
        .config("broken", config);
    if require::ipv6() {
        manifest = manifest.service("six", VIP6, PORT);
    }
    bed.meshctl.apply(&manifest)?;
    let (mut shop, mut cart) = (Client::new(&bed, "shop")?, Client::new(&bed, "cart")?);
    shop.ask(("empty", EMPTY), "no_backend_refused", 70)?;
    cart.ask(("empty", EMPTY), "no_backend_refused", 30)?;
    if require::ipv6() {
        cart.ask(("six", VIP6), "no_backend_refused", 5)?;
    }
    // Each datagram of a socket that is not connected, and the connect of one that is to be.
    for (mode, count) in [(Mode::UdpSendto, 12), (Mode::Udp, 1)] {
        let flows = Flows { patience: Duration::from_millis(100), ..Flows::to(silent, mode) };
        let outcome = Traffic::run_flows(&shop.place, &flows, count)?;
        assert_eq!(shop.note("silent", "no_backend_refused", &outcome), count, "{outcome:?}");
    }

    // Nobody listens there: what fails opens the breaker, which then refuses.
    let plan = Plan::to(BROKEN, Mode::Greet);
    let outcome = Traffic::run(&cart.place, plan, 40)?;
    assert_eq!(cart.note("broken", "breaker_open", &outcome), 37, "{:?}", outcome.failures());
    shop.ask(("broken", BROKEN), "breaker_open", 11)?;

    // Four want a connection that only one at a time may have.
    for (client, count) in [(&mut shop, 400), (&mut cart, 200)] {
        let concurrency = NonZeroU32::new(4).unwrap();
        let plan = Plan { concurrency, ..Plan::to(FULL, Mode::Greet) };
        let outcome = Traffic::run(&client.place, plan, count)?;
        let refused = client.note("full", "max_connections", &outcome);
        assert!(refused > 0 && refused < count, "{:?}", outcome.failures());
    }
    assert_exact(&bed, &[&shop, &cart])?;
    assert_told(&bed, &[&shop, &cart])?;
    let broken = bed.meshctl.ok(&["describe", "service", "broken"])?.stdout;
    assert!(broken.contains("  Refused by cause: breaker_open 48\n"), "{broken}");
    let dump = bed.node.dump()?;
    assert!(dump.contains(" NO_BACKEND_REFUSED=70\n"), "{dump}");

    // Some while no agent runs.
    bed.node.kill()?;
    shop.ask(("empty", EMPTY), "no_backend_refused", 6)?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    cart.ask(("empty", EMPTY), "no_backend_refused", 4)?;
    assert_exact(&bed, &[&shop, &cart])?;

    // Another service gets the index; what the first has refused stays its own.
    bed.meshctl.ok(&["delete", "service", "empty"])?;
    let index = |dump: &str| dump.lines().filter(|line| line.starts_with("SERVICE")).count();
    let with = index(&dump);
    eventually(|| {
        let dump = bed.node.dump().map_err(|error| error.to_string())?;
        if index(&dump) < with { Ok(()) } else { Err(dump) }
    })?;
    bed.meshctl.apply(&Manifest::new().service("next", NEXT, PORT))?;
    shop.ask(("next", NEXT), "no_backend_refused", 8)?;
    assert_exact(&bed, &[&shop, &cart])?;
    bed.node.replace()?;
    cart.ask(("next", NEXT), "no_backend_refused", 3)?;
    assert_exact(&bed, &[&shop, &cart])?;
    assert_told(&bed, &[&shop, &cart])
}

#[test]
fn who_finds_no_room_is_unknown_and_nothing_is_lost() -> anyhow::Result<()> {
    let mut bed = Testbed::start("refusals-full")?;
    bed.meshctl.apply(&Manifest::new().service("empty", VIP, PORT))?;
    let mut first = Client::new(&bed, "first")?;
    first.ask(("empty", VIP), "no_backend_refused", 20)?;
    assert_exact(&bed, &[&first])?;
    let pin = MapData::from_pin(bed.node.map(names::REFUSALS))?;
    let mut map: PerCpuHashMap<_, RefusalKey, RefusalCounters> =
        PerCpuHashMap::try_from(Map::PerCpuHashMap(pin))?;
    let own: Vec<RefusalKey> = map.keys().collect::<Result<_, _>>()?;
    let [own] = own[..] else { anyhow::bail!("{own:?}") };
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let full = (0..=ROOM).find(|number| {
        let key = RefusalKey { cgroup: u64::MAX - number, ..own };
        let value = PerCpuValues::try_from(vec![RefusalCounters::ZERO; cpus]);
        map.insert(key, value.expect("a value for each CPU"), 0).is_err()
    });
    assert_eq!(full, Some(ROOM - 1));
    let mut late = Client::new(&bed, "late")?;
    late.ask(("empty", VIP), "no_backend_refused", 30)?;
    first.ask(("empty", VIP), "no_backend_refused", 10)?;
    for start_again in [false, true] {
        if start_again {
            bed.node.replace()?;
        }
        eventually(|| {
            let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
            let labels = |source| [("outcome", "refused"), ("source_workload", source)];
            metrics.expect(WITHOUT, &labels(&first.name), first.all())?;
            metrics.expect(WITHOUT, &[("outcome", "refused")], first.all() + late.all())?;
            // The agent may have made room by taking out those whose client has gone.
            let rest = metrics.sum(WITHOUT, &labels("unknown"));
            let known = metrics.sum(WITHOUT, &labels(&late.name));
            let without = metrics.sum("mesh_bpf_exits_total", &[("reason", "refusals_full")]);
            if rest < 1.0 || without < rest || (rest + known - float(late.all())).abs() > 0.5 {
                return Err(format!("{rest} unknown, {known} known, {without} without room"));
            }
            let [refused, unknown] = labels("unknown");
            let unexplained = metrics.sum(WITHOUT, &[refused, unknown, ("reason", "unknown")]);
            if (unexplained - rest).abs() < 0.5 { Ok(()) } else { Err(unexplained.to_string()) }
        })?;
    }
    Ok(())
}
