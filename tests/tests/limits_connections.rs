//! Limits of connections, as the backend counts them: 64 threads want three times as many as are
//! allowed, and never get one too many. A client closes only after its server has, and the server
//! takes a connection from its count before it closes, so it cannot count more than there are.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::farm::Farm;
use mesh_tests::firewall;
use mesh_tests::guards::Guards;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic, probe};
use mesh_tests::wait::eventually;

const THREADS: NonZeroU32 = NonZeroU32::new(64).unwrap();
const ATTEMPTS: u64 = 30_000;
/// What this service says when it has no room.
const EAGAIN: i32 = 11;
const REFUSED: &str = "!11";
const ETIMEDOUT: &str = "110";

/// 64 threads that keep up to four connections each.
fn hammer() -> Plan {
    Plan {
        concurrency: THREADS,
        hold: 4,
        pause: Duration::from_millis(1),
        tally: true,
        ..Plan::to(VIP, Mode::Http)
    }
}

/// Three backends that one process plays, so that it counts the connections of all.
fn service(config: &str) -> anyhow::Result<(Testbed, Backends)> {
    let bed = Testbed::start("limits")?;
    let names: Vec<String> = (0..3).map(|n| format!("b{n}")).collect();
    let servers = (0..).map(backend).zip(&names);
    let servers: Vec<_> =
        servers.map(|(ip, name)| (name.as_str(), SocketAddrV4::new(ip, PORT))).collect();
    let backends = Backends::obedient(&Place::in_netns(&bed.netns), Mode::Http, &servers)?;
    let mut manifest = Manifest::new().service_with("web", VIP, PORT, "  refuseErrno: EAGAIN\n");
    for (ip, name) in (0..).map(backend).zip(&names) {
        manifest = manifest.endpoint("web", name, "v1", ip);
    }
    bed.meshctl.apply(&manifest.config("web", config))?;
    Ok((bed, backends))
}

#[test]
fn service_never_has_more_connections_than_it_may_and_none_are_left() -> anyhow::Result<()> {
    const MOST: u64 = 100;
    let config = format!("  circuitBreaker: {{maxConnections: {MOST}}}\n");
    let (bed, backends) = service(&config)?;
    let guards = Guards::open(&bed.node, VIP)?;
    let outcome = Traffic::run(&bed.node.place(), hammer(), ATTEMPTS)?;

    let seen = backends.seen()?;
    println!("{seen:?}, {:?}", outcome.tally);
    assert!(seen.most <= MOST, "{} at a time", seen.most);
    assert!(seen.most >= MOST * 9 / 10, "only {} at a time: nothing was tried", seen.most);
    let refused = outcome.tally.get(REFUSED).copied().unwrap_or(0);
    assert!(refused > 0, "{:?}", outcome.tally);
    let answered: u64 =
        outcome.tally.iter().filter(|(word, _)| !word.starts_with('!')).map(|(_, n)| n).sum();
    assert_eq!(answered + refused, ATTEMPTS, "{:?}", outcome.tally);
    assert_eq!(guards.service()?.refused_connections, refused);
    assert_eq!(seen.accepted, answered);
    guards.wait_empty(&[0, 1, 2].map(backend))?;
    // All there is room for is there again.
    assert_eq!(Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Http), 300)?.failed(), 0);
    Ok(())
}

#[test]
fn connections_of_a_client_that_is_killed_are_given_back() -> anyhow::Result<()> {
    let (bed, backends) = service("  circuitBreaker: {maxConnections: 100}\n")?;
    let guards = Guards::open(&bed.node, VIP)?;
    for _ in 0..3 {
        let traffic = Traffic::start(&bed.node.place(), hammer())?;
        eventually(|| match backends.seen() {
            Ok(seen) if seen.open >= 80 => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        // Dropped: SIGKILL, in the middle of everything.
        drop(traffic);
        guards.wait_empty(&[0, 1, 2].map(backend))?;
    }
    let seen = probe(&bed.node.place(), VIP, Mode::Http)?;
    assert_eq!(seen["connected"], true, "{seen}");
    Ok(())
}

#[test]
fn each_backend_has_its_own_limit_and_what_is_too_much_goes_elsewhere() -> anyhow::Result<()> {
    const MOST: u64 = 20;
    let farm = Farm::start("limits-each", 3, Mode::Http)?;
    let config = format!("  circuitBreaker: {{perEndpoint: {{maxConnections: {MOST}}}}}\n");
    farm.apply(&config)?;
    let guards = farm.guards()?;
    let outcome = Traffic::run(&farm.bed.node.place(), hammer(), ATTEMPTS)?;
    for member in &farm.members {
        let seen = member.server()?.seen()?;
        println!("{}: {seen:?}", member.name);
        assert!(seen.most <= MOST, "{} has {} at a time", member.name, seen.most);
        assert!(seen.most >= MOST * 8 / 10, "{} has only {}", member.name, seen.most);
    }
    let skipped: u64 = farm
        .ips()
        .into_iter()
        .map(|ip| Ok(guards.backend(ip)?.skipped))
        .sum::<anyhow::Result<_>>()?;
    assert!(skipped > 0, "no connection went to another backend");
    let refused = outcome.tally.get("!113").copied().unwrap_or(0);
    assert_eq!(guards.service()?.refused_backends, refused, "{:?}", outcome.tally);
    guards.wait_empty(&farm.ips())?;

    // One more than one backend has room for finds its place.
    let plan = Plan { concurrency: NonZeroU32::new(59).unwrap(), ..Plan::to(VIP, Mode::Http) };
    assert_eq!(Traffic::run(&farm.bed.node.place(), plan, 3_000)?.failed(), 0);
    Ok(())
}

#[test]
fn connections_that_are_being_made_have_a_limit_of_their_own() -> anyhow::Result<()> {
    const MOST: usize = 10;
    /// A connect that nobody answers takes 400 ms at least.
    const CONNECT_NS: u64 = 380_000_000;
    let farm = Farm::start("limits-pending", 1, Mode::Http)?;
    farm.apply(&format!(
        "  circuitBreaker: {{maxPendingConnections: {MOST}}}\n  timeouts: {{connect: 400ms}}\n  \
         retry: {{attempts: 1}}\n"
    ))?;
    let (member, guards) = (&farm.members[0], farm.guards()?);
    let mut tap = member.tap()?;
    firewall::drop_port(&member.netns, PORT)?;
    let plan =
        Plan { concurrency: THREADS, pause: Duration::from_millis(2), ..Plan::to(VIP, Mode::Http) };
    let traffic = Traffic::start(&farm.bed.node.place(), plan)?;
    eventually(|| match traffic.peek().failures().get(ETIMEDOUT) {
        Some(30..) => Ok(()),
        other => Err(format!("{other:?} connections timed out")),
    })?;
    firewall::open(&member.netns)?;
    traffic.stop()?;
    let firsts: Vec<u64> =
        tap.syns()?.iter().filter(|syn| syn.first).map(|syn| syn.at_ns).collect();
    // Until the firewall opened, whatever came within one connect's time was there at once.
    let dropped: Vec<u64> = firsts.iter().copied().take(40).collect();
    let at_once =
        |from: u64| dropped.iter().filter(|at| (from..from + CONNECT_NS).contains(at)).count();
    let most = dropped.iter().map(|from| at_once(*from)).max();
    assert_eq!(most, Some(MOST), "{dropped:?}");
    assert!(guards.service()?.refused_pending > 0);
    guards.wait_empty(&farm.ips())?;

    // Connections that are there do not count as being made.
    let plan = Plan {
        concurrency: NonZeroU32::new(8).unwrap(),
        hold: 8,
        tally: true,
        ..Plan::to(VIP, Mode::Http)
    };
    let outcome = Traffic::run(&farm.bed.node.place(), plan, 2_000)?;
    assert_eq!(outcome.tally.get("b0"), Some(&2_000), "{:?}", outcome.tally);
    assert!(member.server()?.seen()?.most > u64::try_from(MOST)?);
    let seen = probe(&farm.bed.node.place(), VIP, Mode::Http)?;
    assert_ne!(seen["errno"], EAGAIN, "{seen}");
    Ok(())
}
