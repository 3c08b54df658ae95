//! Load balancing policies, session affinity and locality, as real connections find them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::netns::NetNs;
use mesh_tests::process::Place;
use mesh_tests::stats::share;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, VIP6, backend, backend6, mapped, namespace};
use mesh_tests::traffic::{Flows, Outcome, Plan, Traffic, probe};
use mesh_tests::wait::eventually;

const EHOSTUNREACH: i32 = 113;
/// Maglev's tables have 65,537 entries, and both families' are there twice during a change.
const MAGLEV: [&str; 6] =
    ["--max-services", "128", "--max-backends", "512", "--max-slots", "300000"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Addresses of backends named `b0`, `b1`, …, the same in every namespace.
fn servers(count: u8) -> Vec<(String, SocketAddr)> {
    let four = (0..count).map(|n| (format!("b{n}"), SocketAddr::new(backend(n).into(), PORT)));
    let six = (0..count).map(|n| (format!("b{n}"), SocketAddr::new(backend6(n).into(), PORT)));
    four.chain(six).collect()
}

fn serve(netns: &NetNs, mode: Mode, count: u8) -> anyhow::Result<Backends> {
    let servers = servers(count);
    let servers: Vec<_> = servers.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    Backends::start(&Place::in_netns(netns), mode, &servers)
}

/// Service `web` over TCP or UDP with VIPs of both families and `count` backends of each;
/// `affinity` are further lines of its spec, `config` is the spec of its `ServiceConfig`.
fn manifest(mode: Mode, count: u8, affinity: &str, config: &str) -> Manifest {
    let protocol = if mode.is_udp() { "UDP" } else { "TCP" };
    let vips = [(*VIP.ip()).into(), (*VIP6.ip()).into()];
    let mut manifest =
        Manifest::new().service_at("web", &vips, &[("main", VIP.port(), PORT, protocol)], affinity);
    for n in 0..count {
        manifest = manifest.endpoint("web", &format!("four-{n}"), "v1", backend(n)).endpoint(
            "web",
            &format!("six-{n}"),
            "v1",
            backend6(n),
        );
    }
    if config.is_empty() { manifest } else { manifest.config("web", config) }
}

/// Deletes an endpoint and waits until a later change is live, and this one with it.
fn remove(bed: &Testbed, endpoint: &str) -> anyhow::Result<()> {
    bed.meshctl.ok(&["delete", "endpoint", endpoint])?;
    let marker = SocketAddr::from(([10, 96, 9, 9], 80));
    bed.meshctl.apply(&Manifest::new().service(&format!("without-{endpoint}"), marker, PORT))?;
    bed.meshctl.ok(&["delete", "service", &format!("without-{endpoint}")])?;
    Ok(())
}

/// The names that answered, in order.
fn names(outcome: &Outcome) -> Vec<Arc<str>> {
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    outcome.records.iter().filter_map(|record| record.outcome.clone().ok()).collect()
}

fn ask(
    place: &Place,
    target: impl Into<SocketAddr>,
    mode: Mode,
    count: u64,
) -> anyhow::Result<Vec<Arc<str>>> {
    Ok(names(&Traffic::run(place, Plan::to(target, mode), count)?))
}

#[test]
fn round_robin_goes_round_in_exact_order() -> anyhow::Result<()> {
    for mode in [Mode::Greet, Mode::Udp, Mode::UdpSendto] {
        let bed = Testbed::start("rr")?;
        let _servers = serve(&bed.netns, mode, 3)?;
        bed.meshctl.apply(&manifest(mode, 3, "", "  loadBalancer: {policy: RoundRobin}\n"))?;
        for target in [VIP.into(), VIP6.into(), mapped(VIP.into())] {
            let names = ask(&bed.node.place(), target, mode, 30)?;
            for (n, window) in names.windows(4).enumerate() {
                let [a, b, c, again] = window else { continue };
                assert!(a != b && b != c && a != c, "{mode:?} {target}, {n}: {window:?}");
                assert_eq!(a, again, "{mode:?} {target}, {n}: {window:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn round_robin_keeps_to_weights() -> anyhow::Result<()> {
    let bed = Testbed::start("rrw")?;
    let _servers = serve(&bed.netns, Mode::Greet, 2)?;
    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint_with("web", "one", "v1", backend(0), "  weight: 3\n")
        .endpoint_with("web", "two", "v1", backend(1), "  weight: 1\n")
        .config("web", "  loadBalancer: {policy: RoundRobin}\n");
    bed.meshctl.apply(&manifest)?;
    let names = ask(&bed.node.place(), VIP, Mode::Greet, 400)?;
    let first = names.iter().filter(|name| &***name == "b0").count();
    // The turn may begin anywhere, so the ends of the row may cut one round.
    assert!((298..=302).contains(&first), "{first} of 400");
    Ok(())
}

#[test]
fn least_connections_avoids_a_backend_with_open_ones() -> anyhow::Result<()> {
    const OPEN: NonZeroU32 = NonZeroU32::new(16).unwrap();
    for mode in [Mode::Ping, Mode::Udp] {
        let bed = Testbed::start("lc")?;
        let _servers = serve(&bed.netns, mode, 2)?;
        let config = "  loadBalancer: {policy: LeastConnections}\n";
        bed.meshctl.apply(&manifest(mode, 1, "", config))?;
        // All of these are with the only backend that there is.
        let flows = Flows { flows: OPEN, ..Flows::to(VIP, mode) };
        let lasting = Traffic::flows(&bed.node.place(), &flows)?;
        lasting.wait_for(u64::from(OPEN.get()) * 3, PATIENCE)?;
        bed.meshctl.apply(&manifest(mode, 2, "", config))?;
        let place = bed.node.place();
        let names = ask(&place, VIP, mode, 300)?;
        let fresh = names.iter().filter(|name| &***name == "b1").count();
        // Two picks that may be the same backend send a quarter to the loaded one, 2.5 % off.
        assert!(fresh > 190, "{mode:?}: only {fresh} of 300 avoided the loaded backend");
        let lasted = lasting.stop()?;
        assert_eq!(lasted.answered_by("b1"), 0);
        assert_eq!(lasted.failed(), 0, "{:?}", lasted.failures());
        // With nothing open they are alike again, as soon as the closing has been counted.
        eventually(|| {
            let names = ask(&place, VIP, mode, 300).map_err(|error| error.to_string())?;
            let fresh = names.iter().filter(|name| &***name == "b1").count();
            let part = share(u64::try_from(fresh).unwrap_or(0), 300);
            if (0.35..=0.65).contains(&part) { Ok(()) } else { Err(format!("{part}")) }
        })?;
    }
    Ok(())
}

/// Namespaces of further machines' workloads: each has its own servers at the same addresses,
/// and its clients are in the cgroup of the node.
fn workloads(
    mode: Mode,
    count: usize,
    backends: u8,
) -> anyhow::Result<Vec<(Arc<NetNs>, Backends)>> {
    (0..count)
        .map(|_| {
            let netns = namespace("workload")?;
            let servers = serve(&netns, mode, backends)?;
            Ok((netns, servers))
        })
        .collect()
}

/// The one backend that a client reaches, in ten connections.
fn bound_to(place: &Place, mode: Mode) -> anyhow::Result<Arc<str>> {
    let names = ask(place, VIP, mode, 10)?;
    let first = Arc::clone(&names[0]);
    assert!(names.iter().all(|name| *name == first), "{mode:?}: {names:?}");
    Ok(first)
}

#[test]
fn maglev_binds_a_namespace_to_a_backend_and_a_removal_moves_its_share_only() -> anyhow::Result<()>
{
    const BACKENDS: u8 = 5;
    for mode in [Mode::Greet, Mode::Udp] {
        let bed = Testbed::start_with("maglev", &MAGLEV)?;
        let workloads = workloads(mode, 16, BACKENDS)?;
        let config = "  loadBalancer: {policy: Maglev}\n";
        bed.meshctl.apply(&manifest(mode, BACKENDS, "", config))?;
        let look = || -> anyhow::Result<Vec<Arc<str>>> {
            let places = workloads
                .iter()
                .map(|(netns, _)| Place::in_netns(netns).and_cgroup(bed.node.cgroup()));
            places.map(|place| bound_to(&place, mode)).collect()
        };
        let before = look()?;
        assert!(before.iter().any(|name| *name != before[0]), "all alike: {before:?}");
        assert_eq!(before, look()?);

        let gone = Arc::clone(&before[0]);
        let endpoint = gone.replace('b', "four-");
        remove(&bed, &endpoint)?;
        let after = look()?;
        assert!(after.iter().all(|name| *name != gone), "{after:?}");
        // One in a hundred may move without need: of sixteen, hardly ever more than one.
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != gone && b != a).count();
        assert!(moved <= 1, "{moved} moved without need: {before:?}, {after:?}");
    }
    Ok(())
}

#[test]
fn maglev_hashes_what_it_is_told_to() -> anyhow::Result<()> {
    let bed = Testbed::start_with("maglevkey", &MAGLEV)?;
    let _servers = serve(&bed.netns, Mode::Greet, 5)?;
    let config = "  loadBalancer: {policy: Maglev, hashKey: Connection}\n";
    bed.meshctl.apply(&manifest(Mode::Greet, 5, "", config))?;
    let mut counts = BTreeMap::<Arc<str>, u64>::new();
    for name in ask(&bed.node.place(), VIP, Mode::Greet, 500)? {
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(counts.len(), 5, "{counts:?}");
    assert!(counts.values().all(|count| (50..=150).contains(count)), "{counts:?}");
    Ok(())
}

#[test]
fn affinity_sticks_by_namespace_and_ends_with_its_time() -> anyhow::Result<()> {
    const BACKENDS: u8 = 4;
    const TIMEOUT: Duration = Duration::from_secs(1);
    for (mode, affinity) in [
        (Mode::Greet, "  sessionAffinity: {clientIP: true, timeout: 1s}\n"),
        (Mode::UdpSendto, "  sessionAffinity: {key: NetworkNamespace, timeout: 1s}\n"),
    ] {
        let bed = Testbed::start("affinity")?;
        let _servers = serve(&bed.netns, mode, BACKENDS)?;
        bed.meshctl.apply(&manifest(mode, BACKENDS, affinity, ""))?;
        let place = bed.node.place();
        let bound = bound_to(&place, mode)?;
        // Longer than the time in all, but never so long between two.
        for _ in 0..8 {
            thread::sleep(TIMEOUT / 4);
            assert_eq!(bound_to(&place, mode)?, bound);
        }
        // Each new choice is another backend in three of four cases.
        let mut choices = Vec::new();
        while choices.len() < 12 && choices.iter().all(|name| *name == bound) {
            thread::sleep(TIMEOUT + TIMEOUT / 5);
            choices.push(bound_to(&place, mode)?);
        }
        assert!(choices.iter().any(|name| *name != bound), "{mode:?}: {choices:?}");
        // Another namespace is another client.
        let workloads = workloads(mode, 6, BACKENDS)?;
        let others = workloads.iter().map(|(netns, _)| {
            bound_to(&Place::in_netns(netns).and_cgroup(bed.node.cgroup()), mode)
        });
        let others = others.collect::<anyhow::Result<Vec<_>>>()?;
        assert!(others.iter().any(|name| *name != others[0]), "all alike: {others:?}");
    }
    Ok(())
}

#[test]
fn affinity_by_workload_tells_cgroups_of_one_namespace_apart_and_leaves_draining_backends()
-> anyhow::Result<()> {
    const BACKENDS: u8 = 4;
    let bed = Testbed::start("affinitycg")?;
    let _servers = serve(&bed.netns, Mode::Greet, BACKENDS)?;
    let affinity = "  sessionAffinity: {key: Workload, timeout: 1h}\n";
    bed.meshctl.apply(&manifest(Mode::Greet, BACKENDS, affinity, ""))?;
    let units = (0..8)
        .map(|n| bed.node.cgroup().child(&format!("unit{n}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let places: Vec<_> =
        units.iter().map(|unit| Place::in_netns(&bed.netns).and_cgroup(unit)).collect();
    let look = || -> anyhow::Result<Vec<Arc<str>>> {
        places.iter().map(|place| bound_to(place, Mode::Greet)).collect()
    };
    let before = look()?;
    assert!(before.iter().any(|name| *name != before[0]), "all alike: {before:?}");
    assert_eq!(before, look()?);

    let gone = Arc::clone(&before[0]);
    let n: u8 = gone.trim_start_matches('b').parse()?;
    let draining = "  state: Draining\n";
    let manifest =
        Manifest::new().endpoint_with("web", &format!("four-{n}"), "v1", backend(n), draining);
    bed.meshctl.apply(&manifest)?;
    let after = look()?;
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(*after, gone);
        assert!(*before == gone || before == after, "{before} became {after}");
    }
    Ok(())
}

/// Endpoint `n` with lines for its place.
fn placed(manifest: Manifest, n: u8, place: &str) -> Manifest {
    manifest.endpoint_with("web", &format!("four-{n}"), "v1", backend(n), place)
}

/// The backends that answer 60 connections.
fn reached(bed: &Testbed) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<_> =
        ask(&bed.node.place(), VIP, Mode::Greet, 60)?.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[test]
fn locality_prefers_the_near_and_strict_takes_no_other() -> anyhow::Result<()> {
    let flags = [&SMALL[..], &["--region", "eu", "--zone", "a"]].concat();
    let bed = Testbed::start_with("near", &flags)?;
    let _servers = serve(&bed.netns, Mode::Greet, 4)?;
    let config = |mode: &str, scope: &str| {
        let locality = format!("{{mode: {mode}, scope: {scope}}}");
        Manifest::new().config("web", &format!("  loadBalancer: {{locality: {locality}}}\n"))
    };
    let mut all = Manifest::new().service("web", VIP, PORT);
    all = placed(all, 0, "  node: near\n  locality: {region: eu, zone: a}\n");
    all = placed(all, 1, "  node: next\n  locality: {region: eu, zone: a}\n");
    all = placed(all, 2, "  node: third\n  locality: {region: eu, zone: b}\n");
    all = placed(all, 3, "  node: far\n  locality: {region: us, zone: a}\n");
    bed.meshctl.apply(&all)?;
    assert_eq!(reached(&bed)?, ["b0", "b1", "b2", "b3"]);

    bed.meshctl.apply(&config("PreferLocal", "Zone"))?;
    assert_eq!(reached(&bed)?, ["b0", "b1"]);
    bed.meshctl.apply(&config("PreferLocal", "Region"))?;
    assert_eq!(reached(&bed)?, ["b0", "b1", "b2"]);
    // By node, each one that goes hands over to the next level.
    bed.meshctl.apply(&config("PreferLocal", "Node"))?;
    for expected in ["b0", "b1", "b2", "b3"] {
        assert_eq!(reached(&bed)?, [expected]);
        remove(&bed, &expected.replace('b', "four-"))?;
    }

    bed.meshctl.apply(&all)?;
    bed.meshctl.apply(&config("Strict", "Zone"))?;
    assert_eq!(reached(&bed)?, ["b0", "b1"]);
    bed.meshctl.apply(&config("Strict", "Node"))?;
    assert_eq!(reached(&bed)?, ["b0"]);
    remove(&bed, "four-0")?;
    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["errno"], EHOSTUNREACH, "{seen}");
    Ok(())
}
