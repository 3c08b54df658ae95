//! The tools that make faults and look at them, without a mesh: a test that measures with a
//! broken ruler proves nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use mesh_tests::farm::{Member, members_for};
use mesh_tests::firewall;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::netns::NetNs;
use mesh_tests::process::Place;
use mesh_tests::require;
use mesh_tests::testbed::PORT;
use mesh_tests::traffic::{Plan, Traffic, probe};
use mesh_tests::wait::eventually;

const REFUSED: &str = "111";

fn world(mode: Mode) -> anyhow::Result<(Vec<Member>, NetNs)> {
    require::kernel()?;
    let clients = NetNs::create("clients")?;
    Ok((members_for(&clients, 2, mode)?, clients))
}

#[test]
fn tap_sees_each_connection_once_also_where_a_firewall_drops_it() -> anyhow::Result<()> {
    let (members, clients) = world(Mode::Http)?;
    let [one, two] = &members[..] else { anyhow::bail!("two members") };
    let (mut tap, mut other) = (one.tap()?, two.tap()?);
    let place = Place::in_netns(&clients);
    let start = monotonic_ns();
    let outcome = Traffic::run(&place, Plan::to(one.address(), Mode::Http), 500)?;
    assert_eq!(outcome.answered_by("b0"), 500, "{:?}", outcome.failures());
    assert_eq!(tap.connections(start, monotonic_ns())?, 500);
    assert_eq!(tap.syns()?.len(), 500);
    for (record, syn) in outcome.records.iter().zip(tap.syns()?) {
        let took = record.start_ns..record.start_ns + record.duration_ns;
        assert!(took.contains(&syn.at_ns), "{syn:?} is not within {record:?}");
    }

    firewall::drop_port(&one.netns, PORT)?;
    tap.clear();
    // It waits for three seconds, and its kernel sends the SYN again after one.
    let seen = probe(&place, one.address(), Mode::Http)?;
    assert_eq!(seen["connected"], false, "{seen}");
    let syns = tap.syns()?;
    assert!(syns.len() >= 2, "{syns:?}");
    assert_eq!(syns.iter().filter(|syn| syn.first).count(), 1, "{syns:?}");
    assert_eq!(firewall::dropped(&one.netns)?, u64::try_from(syns.len())?);

    firewall::open(&one.netns)?;
    let seen = probe(&place, one.address(), Mode::Http)?;
    assert_eq!(seen["name"], "b0", "{seen}");
    assert_eq!(other.connections(0, u64::MAX)?, 0);
    Ok(())
}

#[test]
fn server_closes_opens_flaps_freezes_and_dies_as_it_is_told() -> anyhow::Result<()> {
    let (mut members, clients) = world(Mode::Http)?;
    let place = Place::in_netns(&clients);
    let one = &mut members[0];
    let plan = Plan { patience: Duration::from_millis(50), ..Plan::to(one.address(), Mode::Http) };
    let ask = || Traffic::run(&place, plan, 20);

    one.tell("close")?;
    assert_eq!(ask()?.failures().get(REFUSED), Some(&20));
    one.tell("listen")?;
    assert_eq!(ask()?.answered_by("b0"), 20);
    one.tell("status b0 503")?;
    assert_eq!(ask()?.failures().get("InvalidData"), Some(&20));
    one.tell("status b0 200")?;

    let traffic = Traffic::start(&place, plan)?;
    one.tell("flap 20")?;
    let both = || {
        let outcome = traffic.peek();
        let changes = outcome
            .records
            .windows(2)
            .filter(|two| matches!(two, [a, b] if a.outcome.is_ok() != b.outcome.is_ok()));
        match changes.count() {
            0..6 => Err(format!("{:?}", outcome.failures())),
            _ => Ok(()),
        }
    };
    eventually(both)?;
    one.tell("listen")?;
    traffic.stop()?;

    one.freeze()?;
    // Accepted by its kernel, answered by nobody.
    assert_eq!(ask()?.failures().get("11"), Some(&20));
    one.thaw()?;
    eventually(|| match ask() {
        Ok(outcome) if outcome.answered_by("b0") == 20 => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    one.kill()?;
    assert_eq!(ask()?.failures().get(REFUSED), Some(&20));
    one.restart()?;
    assert_eq!(ask()?.answered_by("b0"), 20);
    Ok(())
}

#[test]
fn server_counts_the_connections_that_clients_keep() -> anyhow::Result<()> {
    let (members, clients) = world(Mode::Http)?;
    let one = &members[0];
    let plan = Plan {
        concurrency: NonZeroU32::new(8).unwrap(),
        hold: 3,
        tally: true,
        ..Plan::to(one.address(), Mode::Http)
    };
    let outcome = Traffic::run(&Place::in_netns(&clients), plan, 4_000)?;
    assert_eq!(outcome.tally.get("b0"), Some(&4_000), "{:?}", outcome.tally);
    let seen = one.server()?.seen()?;
    // Each thread keeps three while it makes the fourth.
    assert_eq!((seen.open, seen.most, seen.accepted), (0, 32, 4_000));
    Ok(())
}
