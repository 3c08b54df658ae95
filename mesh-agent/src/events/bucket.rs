//! How many lines may be written: a token bucket. Pure; time is since any fixed moment.

use std::time::Duration;

/// A bucket of lines, which fills with time.
#[derive(Debug)]
pub struct Bucket {
    per_second: u64,
    /// Most nanoseconds' worth of lines.
    most: u64,
    /// Nanoseconds' worth of lines in it.
    filled: u64,
    at: Duration,
    left_out: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Bucket {
    /// A full bucket of one second's lines, of which there is at least one.
    #[must_use]
    pub fn new(per_second: u32, now: Duration) -> Self {
        let per_second = u64::from(per_second).max(1);
        Self { per_second, most: SECOND, filled: SECOND, at: now, left_out: 0 }
    }

    /// Whether a line may be written now. One that may not is counted.
    pub fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.at).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.filled = self.filled.saturating_add(since).min(self.most);
        let price = SECOND / self.per_second;
        if let Some(rest) = self.filled.checked_sub(price) {
            self.filled = rest;
            true
        } else {
            self.left_out();
            false
        }
    }

    /// Counts a line that was not written for another reason.
    pub const fn left_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    /// How many lines were not written since this was asked last.
    pub const fn take_left_out(&mut self) -> u64 {
        std::mem::replace(&mut self.left_out, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_of_lines_at_once_then_as_many_as_time_gives() {
        let at = Duration::from_millis;
        let mut bucket = Bucket::new(10, at(5));
        let taken = |bucket: &mut Bucket, now| (0..20).filter(|_| bucket.take(at(now))).count();
        assert_eq!(taken(&mut bucket, 5), 10);
        assert_eq!(bucket.take_left_out(), 10);
        assert_eq!(taken(&mut bucket, 304), 2);
        assert_eq!(taken(&mut bucket, 305), 1);
        // A clock that goes back gives nothing.
        assert_eq!(taken(&mut bucket, 0), 0);
        assert_eq!(taken(&mut bucket, 60_000), 10);
        assert_eq!(bucket.take_left_out(), 18 + 19 + 20 + 10);
        assert_eq!(bucket.take_left_out(), 0);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_all_others_are_counted(
            per_second in 1u32..1000,
            gaps in proptest::collection::vec(0u64..50_000_000, 1..500),
        ) {
            let mut bucket = Bucket::new(per_second, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, 0u64);
            for gap in &gaps {
                now += Duration::from_nanos(*gap);
                taken += u64::from(bucket.take(now));
                let most = f64::from(per_second) * (1.0 + now.as_secs_f64()) + 1.0;
                #[expect(clippy::cast_precision_loss, reason = "at most 500")]
                let taken = taken as f64;
                // A line's price is rounded down to nanoseconds.
                prop_assert!(taken <= most * 1.000_001);
            }
            prop_assert_eq!(taken + bucket.take_left_out(), gaps.len() as u64);
        }
    }
}
