//! Damping of endpoints that come and go: whoever changes too often is taken for unhealthy until
//! it has been healthy for a while, and for longer the next time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mesh_api::model::Health;

/// So many changes within [`WINDOW`] are too many.
pub const MOST_CHANGES: usize = 6;
/// See [`MOST_CHANGES`].
pub const WINDOW: Duration = Duration::from_mins(1);
/// How long it must have been healthy after it was held for the first time; doubles with each.
pub const FIRST_HOLD: Duration = Duration::from_secs(10);
/// The longest of these times.
pub const LONGEST_HOLD: Duration = Duration::from_mins(5);
/// Whoever has not changed for so long is held as if for the first time.
pub const CALM: Duration = Duration::from_mins(10);
/// How long a change is counted in what people are shown.
pub const SHOWN: Duration = Duration::from_mins(5);
/// Most changes that are remembered.
const REMEMBERED: usize = 32;

/// The recent past of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damping {
    last: Option<Health>,
    changes: VecDeque<Instant>,
    hold: Option<Hold>,
    /// Times it was held, since the last calm.
    holds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    /// How long it must be healthy.
    needed: Duration,
    healthy_since: Option<Instant>,
}

impl Damping {
    /// The reports say something else now. What is unknown is not a change, nor is its end.
    pub(super) fn changed(&mut self, to: Option<Health>, now: Instant) {
        self.settle(now);
        if let Some(to) = to {
            if self.last.is_some_and(|last| last != to) {
                self.count(now);
            }
            self.last = Some(to);
        }
        let healthy = to == Some(Health::Healthy);
        if let Some(hold) = &mut self.hold {
            hold.healthy_since = healthy.then_some(now);
        }
    }

    fn count(&mut self, now: Instant) {
        let calm = |last: &Instant| now.saturating_duration_since(*last) >= CALM;
        if self.changes.back().is_some_and(calm) {
            self.holds = 0;
        }
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(now);
        if self.hold.is_none() && self.within(WINDOW, now) >= MOST_CHANGES {
            let factor = 2_u32.saturating_pow(self.holds);
            let needed = FIRST_HOLD.saturating_mul(factor).min(LONGEST_HOLD);
            self.hold = Some(Hold { needed, healthy_since: None });
            self.holds = self.holds.saturating_add(1);
        }
    }

    /// Ends what is over.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.over().is_some_and(|over| over <= now) {
            self.hold = None;
        }
    }

    /// When the hold is over if nothing changes.
    pub(super) fn over(&self) -> Option<Instant> {
        let hold = self.hold?;
        hold.healthy_since?.checked_add(hold.needed)
    }

    /// For how long it is held yet, at least.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        let hold = self.hold?;
        let left = |over: Instant| over.saturating_duration_since(now);
        Some(self.over().map_or(hold.needed, left))
    }

    /// How long it must be healthy.
    pub(super) fn needed(&self) -> Option<Duration> {
        self.hold.map(|hold| hold.needed)
    }

    /// Changes within a time.
    pub(super) fn within(&self, time: Duration, now: Instant) -> usize {
        let newest_first = self.changes.iter().rev();
        newest_first.take_while(|at| now.saturating_duration_since(**at) < time).count()
    }
}
