//! The steps of one length, within a memory that is fixed: what does not fit is the oldest.

use std::collections::VecDeque;
use std::ops::Range;

use super::codec::Record;

/// Memory of a step beside its bytes: two counts of references, the entry here and its part of the
/// room that the queue keeps, and what the allocator adds.
const OVERHEAD: usize = 16 + 2 * size_of::<(u64, Record)>() + 16;

/// Length and number of the steps of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Seconds of a step.
    pub step: u64,
    /// Steps that are kept.
    pub keep: u64,
    /// Part of the memory, in hundredths.
    pub share: usize,
}

impl Tier {
    /// Seconds that are kept.
    #[must_use]
    pub const fn range(&self) -> u64 {
        self.step * self.keep
    }
}

/// The steps.
#[derive(Debug)]
pub struct Log {
    tier: Tier,
    limit: usize,
    bytes: usize,
    records: VecDeque<(u64, Record)>,
    /// Some were given up for want of room.
    cut: bool,
}

impl Log {
    /// No step yet.
    #[must_use]
    pub const fn new(tier: Tier, limit: usize) -> Self {
        Self { tier, limit, bytes: 0, records: VecDeque::new(), cut: false }
    }

    /// Its length and number of steps.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// Memory taken, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a step; numbers ascend.
    pub fn push(&mut self, index: u64, record: Record) {
        self.bytes += record.len() + OVERHEAD;
        self.records.push_back((index, record));
        while let Some((oldest, record)) = self.records.front() {
            let old = index - oldest >= self.tier.keep;
            if !old && self.bytes <= self.limit {
                return;
            }
            self.cut = !old;
            self.bytes -= record.len() + OVERHEAD;
            self.records.pop_front();
        }
    }

    /// Whether it has all that there was in the last so many seconds.
    #[must_use]
    pub fn reaches(&self, seconds: u64, end: u64) -> bool {
        let first = (end / self.tier.step).saturating_sub(seconds.div_ceil(self.tier.step));
        let held = self.records.front().is_some_and(|(oldest, _)| *oldest <= first);
        seconds <= self.tier.range() && (held || !self.cut)
    }

    /// Seconds from the first step to the last.
    #[must_use]
    pub fn span(&self) -> u64 {
        match (self.records.front(), self.records.back()) {
            (Some((first, _)), Some((last, _))) => (last - first + 1) * self.tier.step,
            _ => 0,
        }
    }

    /// Steps with these numbers, in order.
    pub fn steps(&self, range: Range<u64>) -> impl Iterator<Item = &(u64, Record)> {
        let first = self.records.partition_point(|(index, _)| *index < range.start);
        self.records.range(first..).take_while(move |(index, _)| *index < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIER: Tier = Tier { step: 10, keep: 5, share: 100 };

    fn record(length: usize) -> Record {
        vec![0; length].into()
    }

    fn kept(log: &Log) -> Vec<u64> {
        log.steps(0..u64::MAX).map(|(index, _)| *index).collect()
    }

    #[test]
    fn what_is_old_goes_and_what_does_not_fit() {
        let mut log = Log::new(TIER, 3 * (100 + OVERHEAD));
        for index in [1, 2] {
            log.push(index, record(100));
        }
        log.push(6, record(100));
        assert_eq!(kept(&log), [2, 6]);
        assert!(log.reaches(50, 70), "nothing was there before");
        log.push(7, record(100));
        assert_eq!((kept(&log), log.span()), (vec![6, 7], 20));
        log.push(8, record(100));
        log.push(9, record(50));
        assert_eq!(kept(&log), [7, 8, 9]);
        assert!(log.bytes() <= log.limit);
        assert!(log.reaches(30, 100) && !log.reaches(40, 100) && !log.reaches(60, 100));
        assert_eq!(log.steps(8..9).count(), 1);
        log.push(10, record(1_000));
        assert_eq!((kept(&log), log.bytes()), (vec![], 0));
    }
}
