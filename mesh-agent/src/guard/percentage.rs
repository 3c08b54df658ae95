//! Whose connects fail too often: what each backend has done since the last look. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::backend::BackendIndex;
use mesh_common::guard::BackendGuard;
use mesh_common::service::ServiceIndex;

use super::directory::{Directory, Entry, Percentage};
use super::tally::grown;

/// Connects that ended since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Those that failed.
    pub failed: u64,
    /// All of them.
    pub total: u64,
}

/// How a backend's connects came out. Those that say nothing about it, as they were given up or
/// never begun, are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Established.
    pub good: u64,
    /// Failed.
    pub bad: u64,
}

impl Outcomes {
    /// As the programs have counted them. They begin anew with the backend's other words.
    #[must_use]
    pub const fn of(guard: &BackendGuard) -> Self {
        Self { good: guard.good, bad: guard.bad }
    }
}

/// Whether a backend is to be ejected that had these outcomes at two looks.
#[must_use]
pub fn is_due(before: Outcomes, now: Outcomes, limit: Percentage) -> Option<Ended> {
    let failed = grown(before.bad, now.bad);
    let total = grown(before.good, now.good).saturating_add(failed);
    let many = total >= u64::from(limit.minimum.max(1));
    let often = failed.saturating_mul(100) >= total.saturating_mul(u64::from(limit.percent));
    (many && often && failed > 0).then_some(Ended { failed, total })
}

/// When each service is looked at, and what its backends had counted then.
#[derive(Debug, Default)]
pub struct Schedule {
    services: BTreeMap<ServiceIndex, Look>,
}

#[derive(Debug)]
struct Look {
    limit: Percentage,
    next: Duration,
    backends: BTreeMap<BackendIndex, (u32, Outcomes)>,
}

impl Schedule {
    /// Takes over which services have a percentage. A new one, or one with another interval, is
    /// looked at anew: `now` is a clock that only goes forward.
    pub fn sync(&mut self, directory: &Directory, now: Duration) {
        let mut known = std::mem::take(&mut self.services);
        for entry in &directory.services {
            let Some(limit) = entry.percentage.filter(|_| entry.ejects()) else { continue };
            let look = known.remove(&entry.index).filter(|it| it.limit.interval == limit.interval);
            let look = match look {
                Some(look) => Look { limit, ..look },
                // The first look, at once, only notes what there was before.
                None => Look { limit, next: now, backends: BTreeMap::new() },
            };
            self.services.insert(entry.index, look);
        }
    }

    /// When the next look is due.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.services.values().map(|look| look.next).min()
    }

    /// Looks at the services that are due; says which backends are to be ejected.
    pub fn look(
        &mut self,
        directory: &Directory,
        now: Duration,
        outcomes: impl Fn(BackendIndex) -> Outcomes,
    ) -> Vec<(ServiceIndex, BackendIndex, Ended)> {
        let mut due = Vec::new();
        for (index, look) in &mut self.services {
            let Some(entry) = directory.find(*index).filter(|_| look.next <= now) else { continue };
            look.next = now.saturating_add(look.limit.interval);
            look.take(entry, &outcomes, &mut due);
        }
        due
    }
}

impl Look {
    fn take(
        &mut self,
        entry: &Entry,
        outcomes: &impl Fn(BackendIndex) -> Outcomes,
        due: &mut Vec<(ServiceIndex, BackendIndex, Ended)>,
    ) {
        let before = std::mem::take(&mut self.backends);
        for backend in &entry.backends {
            let now = outcomes(backend.index);
            self.backends.insert(backend.index, (backend.generation, now));
            let before = before.get(&backend.index);
            let before = before.filter(|(generation, _)| *generation == backend.generation);
            if let Some((_, before)) = before
                && let Some(ended) = is_due(*before, now, self.limit)
            {
                due.push((entry.index, backend.index, ended));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn counted(good: u64, bad: u64) -> Outcomes {
        Outcomes { good, bad }
    }

    const fn limit(percent: u8, minimum: u32) -> Percentage {
        Percentage { interval: Duration::from_secs(10), percent, minimum }
    }

    #[test]
    fn half_of_ten_is_fifty_percent_and_nine_are_too_few() {
        let before = counted(100, 100);
        let ended = |failed, total| Some(Ended { failed, total });
        assert_eq!(is_due(before, counted(105, 105), limit(50, 10)), ended(5, 10));
        assert_eq!(is_due(before, counted(106, 104), limit(50, 10)), None);
        assert_eq!(is_due(before, counted(100, 109), limit(50, 10)), None);
        assert_eq!(is_due(before, counted(100, 110), limit(100, 10)), ended(10, 10));
        assert_eq!(is_due(before, before, limit(1, 0)), None);
        // Counted from 0 again.
        assert_eq!(is_due(before, counted(5, 5), limit(50, 10)), ended(5, 10));
    }

    proptest! {
        #[test]
        fn it_is_due_exactly_where_the_share_says_so(
            (good, bad) in (0..1_000_u32, 0..1_000_u32),
            (old_good, old_bad) in (any::<u32>(), any::<u32>()),
            (percent, minimum) in (1..=100_u8, 1..100_u32),
        ) {
            let before = counted(old_good.into(), old_bad.into());
            let now = counted(before.good + u64::from(good), before.bad + u64::from(bad));
            let total = good + bad;
            let expected = total >= minimum
                && f64::from(bad) / f64::from(total) >= f64::from(percent) / 100.0;
            prop_assert_eq!(is_due(before, now, limit(percent, minimum)).is_some(), expected);
        }
    }
}
