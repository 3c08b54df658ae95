//! One row: a service under load, some of its backends fail and come back.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::keeper::Keeper;
use super::report::Report;
use super::{MEMBERS, Scenario};
use crate::farm::{Farm, HEALTH};
use crate::guards::Guards;
use crate::load::{Mode, monotonic_ns};
use crate::tap::Tap;
use crate::testbed::VIP;
use crate::traffic::{Outcome, Plan, Traffic};
use crate::wait::eventually;

const CLIENTS: NonZeroU32 = NonZeroU32::new(8).expect("not zero");
/// Longest wait for anything; what it takes is measured, not demanded.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(5);
/// What was begun before a span has ended after so long, and what is made from then on counts.
const LONGEST_CONNECT_NS: u64 = 350_000_000;

/// A span in which the kernel's maps said all the time that no connection can go to a victim.
/// One that was begun before may still be under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// When what happened, nanoseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) broken_ns: u64,
    pub(super) windows: Vec<Window>,
    pub(super) mended_ns: u64,
}

pub(super) fn run(scenario: Scenario, connections: u64) -> anyhow::Result<Report> {
    act(scenario, connections).with_context(|| scenario.name.to_owned())
}

fn act(scenario: Scenario, connections: u64) -> anyhow::Result<Report> {
    let mut farm = Farm::start("faults", MEMBERS, Mode::Http)?;
    farm.apply_checked(&scenario.keeper.config())?;
    let guards = farm.guards()?;
    if scenario.keeper == Keeper::Health {
        settle(&farm, &guards)?;
    }
    let victims = usize::from(scenario.victims);
    let (ips, names): (Vec<_>, Vec<_>) =
        farm.members.iter().take(victims).map(|it| (it.ip, it.name.clone())).unzip();
    let plan = Plan {
        concurrency: CLIENTS,
        pause: Duration::from_millis(1),
        patience: Duration::from_millis(300),
        ..Plan::to(VIP, Mode::Http)
    };
    let traffic = Traffic::start(&farm.bed.node.place(), plan)?;
    let all: Vec<_> = farm.members.iter().map(|it| it.name.clone()).collect();
    wait_answers(&traffic, &all, 0)?;

    let mut taps: Vec<Tap> = Vec::new();
    for member in farm.members.iter().take(victims) {
        taps.push(member.tap()?);
    }
    let broken_ns = monotonic_ns();
    for member in farm.members.iter_mut().take(victims) {
        scenario.fault.begin(member)?;
    }
    let windows = windows(scenario.keeper, &guards, &ips, &traffic, connections)?;
    let mended_ns = monotonic_ns();
    for member in farm.members.iter_mut().take(victims) {
        scenario.fault.end(member)?;
    }
    wait_answers(&traffic, &names, mended_ns)?;
    let outcome = traffic.stop()?;
    guards.wait_empty(&farm.ips())?;
    let times = Times { broken_ns, windows, mended_ns };
    Report::new(scenario, &times, &outcome, &names, &mut taps)
}

/// Lets one member turn unhealthy and healthy again: a control plane says nothing about health in
/// its first seconds, which are not to be measured.
fn settle(farm: &Farm, guards: &Guards) -> anyhow::Result<()> {
    let member = farm.members.first().context("a farm without members")?;
    for (status, share) in [(503, false), (200, true)] {
        member.tell(&format!("status {HEALTH} {status}"))?;
        eventually(|| match guards.shares() {
            Ok(shares) if shares.contains_key(&member.ip.into()) == share => Ok(()),
            other => Err(format!("after status {status}: {other:?}")),
        })?;
    }
    Ok(())
}

/// Waits until each of them has answered some connections that were started since.
fn wait_answers(traffic: &Traffic, names: &[String], from_ns: u64) -> anyhow::Result<()> {
    const ENOUGH: usize = 20;
    let deadline = Instant::now() + PATIENCE;
    let silent = |name: &&String| traffic.answered_since(name, from_ns) < ENOUGH;
    while let Some(name) = names.iter().find(silent) {
        if Instant::now() > deadline {
            bail!("no answers of {name}: {:?}", traffic.peek().failures());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Watches until so many connections were made while the victims were kept away.
fn windows(
    keeper: Keeper,
    guards: &Guards,
    victims: &[Ipv4Addr],
    traffic: &Traffic,
    connections: u64,
) -> anyhow::Result<Vec<Window>> {
    // More than what is counted in the end: those under way at a beginning are not.
    let goal = connections + connections / 10 + 200;
    let deadline = Instant::now() + PATIENCE;
    let (mut made, mut before) = (0, traffic.so_far());
    let mut windows = Vec::new();
    let mut open: Option<(u64, Window)> = None;
    while made < goal {
        if Instant::now() > deadline {
            bail!(
                "{made} connections in {} spans of being kept away: {:?}",
                windows.len(),
                traffic.peek().failures()
            );
        }
        let asked_ns = monotonic_ns();
        let until = keeper.until(guards, victims)?.filter(|until| asked_ns < *until);
        let now = traffic.so_far();
        match (&mut open, until) {
            (Some((same, window)), Some(until)) if *same == until => {
                // It was so when the map was read, which was after the clock was.
                window.to_ns = asked_ns;
                if asked_ns > window.from_ns + LONGEST_CONNECT_NS {
                    made += now - before;
                }
            }
            (_, until) => {
                windows.extend(open.take().map(|(_, window)| window));
                let from_ns = monotonic_ns();
                open = until.map(|until| (until, Window { from_ns, to_ns: from_ns }));
            }
        }
        before = now;
        thread::sleep(POLL);
    }
    windows.extend(open.map(|(_, window)| window));
    Ok(windows)
}

impl Window {
    /// From when on no connection can be under way that was begun before: every client has
    /// begun another one.
    pub(super) fn settled_ns(&self, outcome: &Outcome) -> u64 {
        let mut first = vec![u64::MAX; usize::try_from(CLIENTS.get()).unwrap_or(0)];
        for record in outcome.records.iter().filter(|it| it.start_ns >= self.from_ns) {
            let flow = usize::try_from(record.flow).unwrap_or(usize::MAX);
            if let Some(first) = first.get_mut(flow) {
                *first = record.start_ns.min(*first);
            }
        }
        first.into_iter().max().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::traffic::Record;

    fn started(flow: u32, start_ns: u64) -> Record {
        let outcome = Ok(Arc::from("b0"));
        Record { start_ns, duration_ns: 1, outcome, flow, target: 0 }
    }

    #[test]
    fn nothing_counts_until_every_client_has_begun_another_connection() {
        let window = Window { from_ns: 100, to_ns: 1_000 };
        let mut records: Vec<_> = (0..CLIENTS.get()).map(|flow| started(flow, 50)).collect();
        let settled = |records: &[Record]| {
            let outcome = Outcome { records: records.to_vec(), ..Outcome::default() };
            window.settled_ns(&outcome)
        };
        assert_eq!(settled(&records), u64::MAX);
        records.extend((1..CLIENTS.get()).map(|flow| started(flow, 100 + u64::from(flow))));
        assert_eq!(settled(&records), u64::MAX, "the first client may still be at it");
        records.extend([started(0, 400), started(0, 500), started(3, 600)]);
        assert_eq!(settled(&records), 400);
    }
}
