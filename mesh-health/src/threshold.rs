//! From results to a status: how many in a row it takes, and what the first one means. Pure.
//!
//! A result that agrees with the status decides at once. One that differs needs its threshold, but
//! the very first result needs none to make an endpoint healthy, as with Envoy: a service that has
//! just been started does not wait for `healthyThreshold` intervals.

use mesh_api::model::{Health, HealthCheck};

/// How many results in a row it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// To be healthy; 0 counts as 1.
    pub healthy: u32,
    /// To be unhealthy; 0 counts as 1.
    pub unhealthy: u32,
}

impl From<&HealthCheck> for Rules {
    fn from(check: &HealthCheck) -> Self {
        Self { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold }
    }
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    status: Health,
    decided: bool,
    checked: bool,
    /// Results in a row that differ from the status.
    against: u32,
}

/// What a result has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What checks had decided before; `None`: nothing yet.
    pub from: Option<Health>,
    /// What is decided now.
    pub to: Health,
}

impl Threshold {
    /// Nothing is known; until something is decided, the endpoint is taken for `initial`.
    #[must_use]
    pub const fn new(initial: Health) -> Self {
        Self { status: initial, decided: false, checked: false, against: 0 }
    }

    /// What checks have decided; `None`: nothing yet.
    #[must_use]
    pub const fn decided(&self) -> Option<Health> {
        if self.decided { Some(self.status) } else { None }
    }

    /// Begins to count anew, because the thresholds or the check have changed. What is decided
    /// stays; what is not begins with `initial`.
    pub const fn restart(&mut self, initial: Health) {
        self.against = 0;
        if !self.decided {
            self.status = initial;
        }
    }

    /// Takes a result; returns what it has changed. Of a first decision that confirms what the
    /// endpoint was taken for, `from` is `None`.
    pub fn record(&mut self, rules: Rules, good: bool) -> Option<Decision> {
        let result = if good { Health::Healthy } else { Health::Unhealthy };
        let first = !std::mem::replace(&mut self.checked, true);
        if result == self.status {
            self.against = 0;
        } else {
            self.against = self.against.saturating_add(1);
            let needed = match result {
                Health::Healthy if first => 1,
                Health::Healthy => rules.healthy,
                Health::Unhealthy => rules.unhealthy,
            };
            if self.against < needed {
                return None;
            }
            self.against = 0;
        }
        let from = self.decided();
        self.status = result;
        self.decided = true;
        (from != Some(result)).then_some(Decision { from, to: result })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { healthy: 2, unhealthy: 3 };

    fn decide(initial: Health, results: &[bool]) -> Vec<Option<Health>> {
        let mut threshold = Threshold::new(initial);
        results
            .iter()
            .map(|good| {
                threshold.record(RULES, *good);
                threshold.decided()
            })
            .collect()
    }

    #[test]
    fn the_first_success_is_enough() {
        let healthy = Some(Health::Healthy);
        assert_eq!(decide(Health::Unhealthy, &[true]), [healthy]);
        assert_eq!(decide(Health::Healthy, &[true]), [healthy]);
        // Not the first result, so that it takes two.
        let unhealthy = Some(Health::Unhealthy);
        let results = [false, true, false, true, true];
        let expected = [unhealthy, unhealthy, unhealthy, unhealthy, healthy];
        assert_eq!(decide(Health::Unhealthy, &results), expected);
    }

    #[test]
    fn failures_need_their_threshold_from_the_beginning() {
        let unhealthy = Some(Health::Unhealthy);
        assert_eq!(decide(Health::Healthy, &[false; 4]), [None, None, unhealthy, unhealthy]);
        let healthy = Some(Health::Healthy);
        assert_eq!(decide(Health::Healthy, &[false, false, true]), [None, None, healthy]);
    }

    #[test]
    fn other_thresholds_keep_what_is_decided() {
        let mut threshold = Threshold::new(Health::Healthy);
        threshold.record(RULES, true);
        threshold.record(RULES, false);
        threshold.record(RULES, false);
        threshold.restart(Health::Unhealthy);
        assert_eq!(threshold.decided(), Some(Health::Healthy));
        assert_eq!(threshold.record(RULES, false), None);
        assert_eq!(threshold.record(RULES, false), None);
        let decision = Decision { from: Some(Health::Healthy), to: Health::Unhealthy };
        assert_eq!(threshold.record(RULES, false), Some(decision));
    }

    /// The rules again, told by the whole history.
    fn model(initial: Health, rules: Rules, results: &[bool]) -> Health {
        let mut status = initial;
        for end in 1..=results.len() {
            let last = |count: u32, good: bool| {
                let count = usize::try_from(count.max(1)).unwrap();
                end >= count && results[end - count..end].iter().all(|result| *result == good)
            };
            if last(rules.unhealthy, false) {
                status = Health::Unhealthy;
            } else if last(rules.healthy, true) || (end == 1 && results[0]) {
                status = Health::Healthy;
            }
        }
        status
    }

    proptest! {
        #[test]
        fn as_many_in_a_row_as_the_thresholds_say(
            unhealthy_first in any::<bool>(),
            healthy in 0u32..5, unhealthy in 0u32..5,
            results in proptest::collection::vec(any::<bool>(), 1..40),
        ) {
            let initial = if unhealthy_first { Health::Unhealthy } else { Health::Healthy };
            let rules = Rules { healthy, unhealthy };
            let mut threshold = Threshold::new(initial);
            let mut told = None;
            for (at, good) in results.iter().enumerate() {
                if let Some(decision) = threshold.record(rules, *good) {
                    prop_assert_eq!(decision.from, told);
                    prop_assert_ne!(Some(decision.to), told);
                    told = Some(decision.to);
                }
                prop_assert_eq!(threshold.decided(), told);
                prop_assert_eq!(told.unwrap_or(initial), model(initial, rules, &results[..=at]));
            }
        }
    }
}
