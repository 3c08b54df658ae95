//! Connects and datagrams that a service refuses, by who asks and by why.

use crate::reason::Reason;
use crate::service::ServiceIndex;

/// Key of `refusals`.
///
/// Indices of services are given out again: the agent settles what an index has counted before.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RefusalKey {
    /// Id of the cgroup that asks; 0 where clients are not told apart.
    pub cgroup: u64,
    /// The service.
    pub service: ServiceIndex,
    /// Zero.
    pub pad: u32,
}

/// Value of `refusals`, for each CPU. What is not counted here, for want of room, is in
/// `service_counters` as everything is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RefusalCounters {
    /// Refused, by [`RefusalCause`].
    pub refused: [u64; RefusalCause::COUNT],
}

impl RefusalCounters {
    /// All that was counted is 0.
    pub const ZERO: Self = Self { refused: [0; RefusalCause::COUNT] };

    /// So many for this cause.
    #[must_use]
    pub fn of(cause: RefusalCause, count: u64) -> Self {
        let mut counters = Self::ZERO;
        if let Some(of_it) = counters.refused.get_mut(cause.code as usize) {
            *of_it = count;
        }
        counters
    }

    /// For all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.refused.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

/// Why a service refuses: the reasons that do not let through.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefusalCause {
    /// The number.
    pub code: u32,
}

impl RefusalCause {
    /// Counted for the service alone.
    pub const UNKNOWN: Self = Self { code: 0 };
    /// How many there are.
    pub const COUNT: usize = 10;

    /// The reasons, in the order of their causes, after [`Self::UNKNOWN`].
    pub const REASONS: [Reason; Self::COUNT - 1] = [
        Reason::NO_BACKEND_REFUSED,
        Reason::OTHER_FAMILY,
        Reason::TORN,
        Reason::DANGLING,
        Reason::BREAKER_OPEN,
        Reason::MAX_CONNECTIONS,
        Reason::MAX_PENDING,
        Reason::BACKENDS_BUSY,
        Reason::CONTENDED,
    ];

    /// Of a program's end.
    #[must_use]
    #[inline(always)]
    pub const fn from_reason(reason: Reason) -> Self {
        let code = match reason {
            Reason::NO_BACKEND_REFUSED => 1,
            Reason::OTHER_FAMILY => 2,
            Reason::TORN => 3,
            Reason::DANGLING => 4,
            Reason::BREAKER_OPEN => 5,
            Reason::MAX_CONNECTIONS => 6,
            Reason::MAX_PENDING => 7,
            Reason::BACKENDS_BUSY => 8,
            Reason::CONTENDED => 9,
            Reason { .. } => 0,
        };
        Self { code }
    }

    /// As metrics call it: as they call the reason.
    #[must_use]
    pub fn name(self) -> &'static str {
        let is_it = |reason: &&(Reason, &str)| Self::from_reason(reason.0) == self;
        let found = Reason::NAMES.iter().find(is_it).filter(|_| self != Self::UNKNOWN);
        found.map_or("unknown", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_that_does_not_let_through_is_a_cause_of_its_own() {
        let refusing = Reason::NAMES.iter().filter(|(reason, _)| !reason.lets_through());
        assert_eq!(refusing.clone().count(), RefusalCause::REASONS.len());
        for (reason, name) in refusing {
            let cause = RefusalCause::from_reason(*reason);
            assert_eq!((cause.name(), cause == RefusalCause::UNKNOWN), (*name, false));
            assert_eq!(RefusalCause::REASONS[cause.code as usize - 1], *reason);
        }
        assert_eq!(RefusalCause::from_reason(Reason::NO_RECORD), RefusalCause::UNKNOWN);
        assert_eq!(RefusalCause::UNKNOWN.name(), "unknown");
    }
}
