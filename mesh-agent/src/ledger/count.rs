//! The kinds of counters that the ledger keeps, as lists of numbers: they are added, subtracted
//! and written to disk alike. Arithmetic wraps, so that a watermark may lie "below zero".

use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::edge::EdgeCounters;
use mesh_common::refusal::RefusalCounters;

/// A set of counters.
pub trait Count: Copy + Default + PartialEq + Eq + std::fmt::Debug {
    /// The numbers, in the order of the fields.
    fn numbers(&self) -> Vec<u64>;

    /// From as many numbers as [`Self::numbers`] gives.
    fn from_numbers(numbers: &[u64]) -> Option<Self>;

    /// Combines the numbers one by one.
    #[must_use]
    fn combine(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self;

    /// The sum.
    #[must_use]
    fn and(&self, other: &Self) -> Self {
        self.combine(other, u64::wrapping_add)
    }

    /// The difference.
    #[must_use]
    fn beyond(&self, other: &Self) -> Self {
        self.combine(other, u64::wrapping_sub)
    }
}

/// Lists the fields of a set of counters.
macro_rules! count {
    ($type:ident { $($field:ident),+ }) => {
        impl Count for $type {
            fn numbers(&self) -> Vec<u64> {
                vec![$(self.$field),+]
            }

            fn from_numbers(numbers: &[u64]) -> Option<Self> {
                let [$($field),+] = *numbers else { return None };
                Some(Self { $($field),+ })
            }

            fn combine(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self {
                Self { $($field: by(self.$field, other.$field)),+ }
            }
        }
    };
}

count!(BackendCounters {
    attempts,
    opened,
    failed,
    closed,
    bytes_sent,
    bytes_received,
    retransmits,
    rtt_us
});
count!(ServiceCounters { refused, passed });
count!(ReasonCount { count });

impl Count for EdgeCounters {
    fn numbers(&self) -> Vec<u64> {
        let Self {
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
        } = *self;
        let mut numbers =
            vec![opened, closed, bytes_sent, bytes_received, retransmits, rtt_us, duration_us];
        numbers.extend(failed);
        numbers
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let (first, failed) = numbers.split_at_checked(7)?;
        let [opened, closed, bytes_sent, bytes_received, retransmits, rtt_us, duration_us] = *first
        else {
            return None;
        };
        let failed = failed.try_into().ok()?;
        Some(Self {
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
        })
    }

    fn combine(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self {
        let (mine, other) = (self.numbers(), other.numbers());
        let both: Vec<u64> = mine.into_iter().zip(other).map(|(a, b)| by(a, b)).collect();
        Self::from_numbers(&both).unwrap_or_default()
    }
}

impl Count for RefusalCounters {
    fn numbers(&self) -> Vec<u64> {
        self.refused.to_vec()
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        Some(Self { refused: numbers.try_into().ok()? })
    }

    fn combine(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self {
        let mut both = *self;
        for (mine, other) in both.refused.iter_mut().zip(other.refused) {
            *mine = by(*mine, other);
        }
        both
    }
}
