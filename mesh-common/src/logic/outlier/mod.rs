//! Outlier ejection: one word for each backend, changed by compare-and-exchange, the same in the
//! kernel and in the agent.
//!
//! The word: 12 bits failures in a row, 8 bits ejections that are not forgotten, 1 bit ejected,
//! 43 bits milliseconds (278 years): ejected, until when; otherwise, when the last ejection ended.

use crate::policy::OutlierPolicy;

/// The most failures in a row that fit.
pub const MAX_CONSECUTIVE: u32 = 4_095;
/// The most ejections that are remembered.
pub const MAX_EJECTIONS: u64 = 255;

const EJECTIONS_AT: u32 = 12;
const EJECTED: u64 = 1 << 20;
const TIME_AT: u32 = 21;
const FAILURES_MASK: u64 = 0xfff;

/// Failures in a row.
#[must_use]
#[inline(always)]
pub const fn failures(word: u64) -> u64 {
    word & FAILURES_MASK
}

/// Ejections that are not forgotten.
#[must_use]
#[inline(always)]
pub const fn ejections(word: u64) -> u64 {
    (word >> EJECTIONS_AT) & MAX_EJECTIONS
}

/// Whether it is ejected, also where the time is over and nobody has noticed.
#[must_use]
#[inline(always)]
pub const fn is_ejected(word: u64) -> bool {
    word & EJECTED != 0
}

/// Until when it is ejected, or when the last ejection ended; milliseconds.
#[must_use]
#[inline(always)]
pub const fn time(word: u64) -> u64 {
    word >> TIME_AT
}

#[inline(always)]
const fn word(failures: u64, ejections: u64, ejected: u64, time: u64) -> u64 {
    failures | ejections << EJECTIONS_AT | ejected | time << TIME_AT
}

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The backend is not ejected.
    Free,
    /// Its time is over: it is back if the word can be replaced by this one.
    Back(u64),
    /// It is ejected.
    Ejected,
}

/// Whether a connection may go to the backend.
#[must_use]
#[inline(always)]
pub const fn admit(before: u64, now_ms: u64) -> Admission {
    if !is_ejected(before) {
        return Admission::Free;
    }
    if now_ms < time(before) {
        return Admission::Ejected;
    }
    Admission::Back(back(before))
}

/// The word of a backend whose ejection is over.
#[must_use]
#[inline(always)]
pub const fn back(before: u64) -> u64 {
    word(0, ejections(before), 0, time(before))
}

/// The word after a connection was established.
#[must_use]
#[inline(always)]
pub const fn succeeded(before: u64) -> u64 {
    before & !FAILURES_MASK
}

/// The word after a connection was not established that began at `began_ms`. `None` where it began
/// before the last ejection ended: that says nothing about the time since.
#[must_use]
#[inline(always)]
pub const fn failed(before: u64, began_ms: u64) -> Option<u64> {
    if began_ms < time(before) {
        None
    } else if failures(before) < FAILURES_MASK {
        Some(before + 1)
    } else {
        Some(before)
    }
}

/// Whether it has failed often enough in a row to be ejected.
#[must_use]
#[inline(always)]
pub const fn is_due(word: u64, policy: &OutlierPolicy) -> bool {
    policy.consecutive_failures != 0
        && !is_ejected(word)
        && failures(word) >= policy.consecutive_failures as u64
}

/// The word of a backend that is ejected now. Each ejection takes longer than the one before; for
/// every base time that the backend was back, one is forgotten.
#[must_use]
#[inline(always)]
pub const fn eject(before: u64, policy: &OutlierPolicy, now_ms: u64) -> u64 {
    let base = if policy.base_ms == 0 { 1 } else { policy.base_ms as u64 };
    let quiet = now_ms.saturating_sub(time(before)) / base;
    let ejections = ejections(before).saturating_sub(quiet) + 1;
    let ejections = if ejections > MAX_EJECTIONS { MAX_EJECTIONS } else { ejections };
    let long = base * ejections;
    let max = if policy.max_ms == 0 { long } else { policy.max_ms as u64 };
    let long = if long > max && max >= base { max } else { long };
    word(failures(before), ejections, EJECTED, now_ms + long)
}

#[cfg(test)]
mod tests;
