//! When the canary is due: pure.

use std::time::Duration;

/// How soon after a trial that was not good the next one is made.
const AGAIN: Duration = Duration::from_secs(2);

/// When the next trial is due, on a clock that begins anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// `None`: only where something has changed.
    interval: Option<Duration>,
    due: Option<Duration>,
}

impl Schedule {
    /// The first trial is due at once; an interval of 0 asks for no others.
    #[must_use]
    pub(super) fn new(interval: Duration) -> Self {
        let interval = Some(interval).filter(|interval| !interval.is_zero());
        Self { interval, due: Some(Duration::ZERO) }
    }

    /// Something has changed: the last result means nothing.
    pub(super) const fn changed(&mut self) {
        self.due = Some(Duration::ZERO);
    }

    /// Whether a trial is due.
    #[must_use]
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// A trial has ended.
    pub(super) fn tried(&mut self, now: Duration, good: bool) {
        let after = if good {
            self.interval
        } else {
            Some(self.interval.map_or(AGAIN, |interval| interval.min(AGAIN)))
        };
        self.due = after.map(|after| now.saturating_add(after));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn without_an_interval_only_changes_and_failures_ask_for_a_trial() {
        let mut schedule = Schedule::new(Duration::ZERO);
        assert!(schedule.is_due(Duration::ZERO));
        schedule.tried(seconds(1), false);
        assert!(!schedule.is_due(seconds(2)) && schedule.is_due(seconds(3)));
        schedule.tried(seconds(3), true);
        assert!(!schedule.is_due(Duration::MAX));
        schedule.changed();
        assert!(schedule.is_due(seconds(4)));
    }

    proptest! {
        #[test]
        fn the_next_trial_is_never_later_than_the_interval(
            interval in 1..100u64, now in 0..1000u64, good: bool,
        ) {
            let mut schedule = Schedule::new(seconds(interval));
            schedule.tried(seconds(now), good);
            prop_assert!(schedule.is_due(seconds(now + interval)));
            prop_assert!(!schedule.is_due(seconds(now)));
        }
    }
}
