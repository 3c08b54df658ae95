//! A breaker that is half-open lets exactly as many connections through as it is told, whatever
//! the number of threads that wait for the moment. What gets through is counted at the backend's
//! interface.

use std::num::NonZeroU32;
use std::time::Duration;

use mesh_common::logic::breaker::{Phase, count, phase, round};
use mesh_tests::backend::Backends;
use mesh_tests::farm::Farm;
use mesh_tests::firewall;
use mesh_tests::guards::Guards;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::tap::Tap;
use mesh_tests::testbed::{PORT, VIP};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;

const THREADS: NonZeroU32 = NonZeroU32::new(64).unwrap();
/// Rounds whose trials all fail.
const ROUNDS: u32 = 2;

/// Whose breaker is looked at.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Service,
    Backend,
}

struct Bed {
    farm: Farm,
    guards: Guards,
    whose: Whose,
}

impl Bed {
    fn start(whose: Whose) -> anyhow::Result<Self> {
        let farm = Farm::start("half-open", 1, Mode::Http)?;
        farm.apply("  circuitBreaker: {maxConnections: 1000}\n")?;
        let guards = farm.guards()?;
        Ok(Self { farm, guards, whose })
    }

    fn set_trials(&self, trials: u64) -> anyhow::Result<()> {
        let limits = format!(
            "{{maxFailures: 3, window: 10s, resetTimeout: 300ms, trialConnections: {trials}}}"
        );
        let breaker = match self.whose {
            Whose::Service => format!("  circuitBreaker: {limits}\n"),
            Whose::Backend => format!("  circuitBreaker: {{perEndpoint: {limits}}}\n"),
        };
        self.farm
            .apply(&format!("{breaker}  timeouts: {{connect: 400ms}}\n  retry: {{attempts: 3}}\n"))
    }

    fn word(&self) -> anyhow::Result<u64> {
        Ok(match self.whose {
            Whose::Service => self.guards.service()?.breaker,
            Whose::Backend => self.guards.backend(self.farm.members[0].ip)?.breaker,
        })
    }

    fn wait(&self, what: &str, is: impl Fn(u64) -> bool) -> anyhow::Result<u64> {
        let mut last = 0;
        eventually(|| {
            last = self.word().map_err(|error| error.to_string())?;
            if is(last) { Ok(()) } else { Err(format!("{:?} is not {what}", phase(last))) }
        })?;
        Ok(last)
    }

    /// Waits until the trials of the next round have begun and failed.
    fn wait_bad_round(&self) -> anyhow::Result<()> {
        let before = round(self.wait("open", |word| phase(word) == Phase::OPEN)?);
        self.wait("open after another round", |word| {
            phase(word) == Phase::OPEN && round(word) != before
        })?;
        Ok(())
    }
}

fn exactly(bed: &Bed, trials: u64) -> anyhow::Result<()> {
    bed.set_trials(trials)?;
    let whose = bed.whose;
    let member = &bed.farm.members[0];
    let before = member.server()?.seen()?;
    let mut tap: Tap = member.tap()?;
    firewall::drop_port(&member.netns, PORT)?;
    let plan = Plan {
        concurrency: THREADS,
        pause: Duration::from_micros(500),
        tally: true,
        ..Plan::to(VIP, Mode::Http)
    };
    let traffic = Traffic::start(&bed.farm.bed.node.place(), plan)?;
    // Whatever was under way when the breaker opened has ended after a round.
    bed.wait_bad_round()?;
    for _ in 0..ROUNDS {
        let start = monotonic_ns();
        bed.wait_bad_round()?;
        let sent = tap.connections(start, monotonic_ns())?;
        assert_eq!(sent, trials, "{whose:?}");
    }

    // The next trials are under way when the way is free again: all succeed.
    let start = monotonic_ns();
    bed.wait("half-open with all trials", |word| {
        phase(word) == Phase::HALF_OPEN && count(word) == trials
    })?;
    let sent = tap.connections(start, monotonic_ns())?;
    assert_eq!(sent, trials, "{whose:?}, before they succeed");
    assert_eq!(member.server()?.seen()?, before);
    firewall::open(&member.netns)?;
    bed.wait("closed", |word| phase(word) == Phase::CLOSED)?;
    eventually(|| match member.server().and_then(Backends::seen) {
        Ok(seen) if seen.accepted > before.accepted + trials + 100 => Ok(()),
        other => Err(format!("closed, and {other:?}")),
    })?;
    traffic.stop()?;
    bed.guards.wait_empty(&bed.farm.ips())
}

#[test]
fn a_backend_gets_exactly_its_trials() -> anyhow::Result<()> {
    let bed = Bed::start(Whose::Backend)?;
    [1, 3, 10].into_iter().try_for_each(|trials| exactly(&bed, trials))
}

#[test]
fn a_service_gets_exactly_its_trials() -> anyhow::Result<()> {
    exactly(&Bed::start(Whose::Service)?, 3)
}
