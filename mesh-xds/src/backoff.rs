//! How long to wait before the next connection attempt: exponential, half of it random, so that
//! a thousand nodes that lost one control plane do not come back in the same millisecond.

use std::time::Duration;

/// The schedule. It reads no clock and draws no numbers: the shell sleeps and passes randomness.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    factor: f64,
    ceiling: Duration,
}

impl Backoff {
    /// `min`: ceiling of the first wait. `max`: ceiling of every wait. `factor`: growth of the
    /// ceiling from one wait to the next; below 1, or not a number, it counts as 1.
    #[must_use]
    pub fn new(min: Duration, max: Duration, factor: f64) -> Self {
        let min = min.min(max);
        Self { min, max, factor: if factor >= 1.0 { factor } else { 1.0 }, ceiling: min }
    }

    /// The next wait, between half of the current ceiling and the ceiling. `random01` is
    /// uniform in 0..=1; anything outside is clamped.
    pub fn next(&mut self, random01: f64) -> Duration {
        let ceiling = self.ceiling;
        let grown = ceiling.as_secs_f64() * self.factor;
        self.ceiling =
            Duration::try_from_secs_f64(grown).unwrap_or(self.max).clamp(ceiling, self.max);
        let share = if random01.is_nan() { 1.0 } else { random01.clamp(0.0, 1.0) };
        let half = ceiling / 2;
        let random = Duration::try_from_secs_f64(half.as_secs_f64() * share).unwrap_or(half);
        half.saturating_add(random).min(ceiling)
    }

    /// Start over: call when a stream has proved useful (a first response), not when it opened,
    /// or a server that accepts and drops would be hammered.
    pub const fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

/// Uniform in [0, 1): spreads over time what would come all at once.
#[must_use]
pub fn random01() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};

    // A new RandomState has new keys of the operating system's randomness behind it.
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_to_the_ceiling_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 2.0);
        let waits: Vec<u128> = (0..6).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(50));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_in_bounds(
            min in any::<u64>(), max in any::<u64>(), factor in any::<f64>(),
            random in proptest::collection::vec(any::<f64>(), 0..100),
        ) {
            let (min, max) = (Duration::new(min, 1), Duration::new(max, 999_999_999));
            let mut backoff = Backoff::new(min, max, factor);
            for random01 in random {
                let wait = backoff.next(random01);
                prop_assert!(wait <= max);
                prop_assert!(wait >= min.min(max) / 2);
            }
        }
    }
}
