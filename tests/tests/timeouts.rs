//! What a service's timeouts make of connections that nobody answers, before they are established
//! and afterwards.

use std::time::{Duration, Instant};

use mesh_common::logic::load;
use mesh_tests::farm::Farm;
use mesh_tests::firewall;
use mesh_tests::load::Mode;
use mesh_tests::testbed::{PORT, VIP};
use mesh_tests::traffic::{Flows, Traffic, probe};
use mesh_tests::wait::eventually;

const ETIMEDOUT: i32 = 110;

#[test]
fn connect_fails_after_its_timeout_having_sent_each_syn_it_may() -> anyhow::Result<()> {
    let farm = Farm::start("timeout", 1, Mode::Http)?;
    farm.apply("  timeouts: {connect: 300ms}\n  retry: {attempts: 2}\n")?;
    let member = &farm.members[0];
    let place = farm.bed.node.place();
    assert_eq!(probe(&place, VIP, Mode::Http)?["name"], "b0");

    let mut tap = member.tap()?;
    firewall::drop_port(&member.netns, PORT)?;
    for _ in 0..3 {
        tap.clear();
        let seen = probe(&place, VIP, Mode::Http)?;
        println!("{seen} {:?}", tap.syns()?);
        assert_eq!(seen["connected"], false, "{seen}");
        assert_eq!(seen["errno"], ETIMEDOUT, "{seen}");
        let took = Duration::from_nanos(seen["connect_ns"].as_u64().unwrap_or(0));
        assert!((250..=600).contains(&took.as_millis()), "{took:?}");
        let firsts: Vec<bool> = tap.syns()?.iter().map(|syn| syn.first).collect();
        assert_eq!(firsts, [true, false, false], "a SYN and two more of the same connection");
    }
    firewall::open(&member.netns)?;
    assert_eq!(probe(&place, VIP, Mode::Http)?["name"], "b0");
    Ok(())
}

#[test]
fn an_established_connection_outlives_the_timeout_of_its_connect() -> anyhow::Result<()> {
    let farm = Farm::start("timeout-open", 1, Mode::Ping)?;
    farm.apply("  timeouts: {connect: 300ms}\n")?;
    let member = &farm.members[0];
    let flows = Flows { pause: Duration::from_millis(10), ..Flows::to(VIP, Mode::Ping) };
    let traffic = Traffic::flows(&farm.bed.node.place(), &flows)?;
    traffic.wait_for(20, Duration::from_secs(10))?;
    firewall::drop_port(&member.netns, PORT)?;
    std::thread::sleep(Duration::from_millis(900));
    firewall::open(&member.netns)?;
    traffic.wait_for(20, Duration::from_secs(10))?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    Ok(())
}

#[test]
fn a_connection_whose_peer_vanishes_ends_after_the_idle_timeout() -> anyhow::Result<()> {
    let farm = Farm::start("idle", 1, Mode::Ping)?;
    // The limit makes the node count connections; it is not reached.
    farm.apply("  timeouts: {idle: 2s}\n  circuitBreaker: {maxConnections: 100}\n")?;
    let (member, guards) = (&farm.members[0], farm.guards()?);
    let open = || guards.service().map_or(u32::MAX, |guard| load::active(guard.load));
    // One with data that is never acknowledged, one that says nothing after its first exchange.
    let talking = Flows { pause: Duration::from_millis(10), ..Flows::to(VIP, Mode::Ping) };
    let silent = Flows { pause: Duration::from_mins(1), ..talking.clone() };
    for flows in [talking, silent] {
        let traffic = Traffic::flows(&farm.bed.node.place(), &flows)?;
        traffic.wait_for(1, Duration::from_secs(10))?;
        assert_eq!(open(), 1);
        firewall::drop_port(&member.netns, PORT)?;
        let start = Instant::now();
        eventually(|| match (open(), traffic.peek().failed()) {
            (0, _) | (_, 1..) => Ok(()),
            still => Err(format!("(open, failed): {still:?}")),
        })?;
        let took = start.elapsed();
        println!("{:?} between exchanges: ended after {took:?}", flows.pause);
        assert!((1_500..=5_000).contains(&took.as_millis()), "{:?}: {took:?}", flows.pause);
        firewall::open(&member.netns)?;
        drop(traffic);
        guards.wait_empty(&farm.ips())?;
    }
    Ok(())
}
