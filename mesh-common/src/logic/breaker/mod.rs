//! The circuit breaker: one word, changed by compare-and-exchange, the same in the kernel and here.
//!
//! ```text
//!            maxFailures within the window
//!   CLOSED ────────────────────────────────► OPEN ◄───────────────┐
//!     ▲                                       │ resetTimeout,      │ a trial fails
//!     │ all trials succeed                    ▼ at a connect       │
//!     └──────────────────────────────── HALF_OPEN ────────────────┘
//! ```
//!
//! The word: 2 bits phase, 10 bits failures or trials begun, 10 bits trials that succeeded, 4 bits
//! number of the round, 38 bits milliseconds (8 years) of the phase's beginning; closed, of the
//! first failure. A closed breaker without failures has phase and failures 0.

use crate::policy::Thresholds;

/// The most failures and trials that fit.
pub const MAX_COUNT: u32 = 1_023;
/// How long trials may take before others are let through in their place: longer than a connect
/// without any timeout takes, so that only trials whose end was never seen are replaced.
pub const TRIALS_MS: u64 = 150_000;

const COUNT_AT: u32 = 2;
const GOOD_AT: u32 = 12;
const ROUND_AT: u32 = 22;
const TIME_AT: u32 = 26;
const COUNT_MASK: u64 = 0x3ff;
const ROUND_MASK: u64 = 0xf;
const TIME_MASK: u64 = (1 << 38) - 1;

/// What a breaker does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The number.
    pub code: u64,
}

impl Phase {
    /// Lets everything through.
    pub const CLOSED: Self = Self { code: 0 };
    /// Lets nothing through.
    pub const OPEN: Self = Self { code: 1 };
    /// Lets some trials through.
    pub const HALF_OPEN: Self = Self { code: 2 };
}

/// The phase.
#[must_use]
#[inline(always)]
pub const fn phase(word: u64) -> Phase {
    Phase { code: word & 3 }
}

/// Failures so far where it is closed, trials begun where it is half-open.
#[must_use]
#[inline(always)]
pub const fn count(word: u64) -> u64 {
    (word >> COUNT_AT) & COUNT_MASK
}

/// Trials that succeeded.
#[must_use]
#[inline(always)]
pub const fn good(word: u64) -> u64 {
    (word >> GOOD_AT) & COUNT_MASK
}

/// Number of the last round of trials, from 0 to 15 and again.
#[must_use]
#[inline(always)]
pub const fn round(word: u64) -> u64 {
    (word >> ROUND_AT) & ROUND_MASK
}

/// When the phase start, milliseconds of the clock that is passed in.
#[must_use]
#[inline(always)]
pub const fn since(word: u64) -> u64 {
    (word >> TIME_AT) & TIME_MASK
}

#[inline(always)]
const fn word(phase: Phase, count: u64, good: u64, round: u64, now_ms: u64) -> u64 {
    phase.code
        | (count & COUNT_MASK) << COUNT_AT
        | (good & COUNT_MASK) << GOOD_AT
        | (round & ROUND_MASK) << ROUND_AT
        | (now_ms & TIME_MASK) << TIME_AT
}

#[inline(always)]
const fn elapsed(word: u64, now_ms: u64) -> u64 {
    let gone = now_ms.wrapping_sub(since(word)) & TIME_MASK;
    // Another CPU's clock was read a moment later than ours.
    if gone > TIME_MASK / 2 { 0 } else { gone }
}

/// What a connection takes along, so that its end can be told: the round in which it began, and
/// whether it is a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// See [`round`].
    pub round: u64,
    /// Whether a half-open breaker let it through.
    pub trial: bool,
}

/// The ticket of a connection that the breaker lets through without being changed.
#[must_use]
#[inline(always)]
pub const fn free(word: u64) -> Ticket {
    Ticket { round: round(word), trial: false }
}

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Let through; nothing changes.
    Free,
    /// Let through as a trial, if the word can be replaced by this one.
    Trial(u64),
    /// Not let through.
    Refused,
}

/// Whether a connection is let through.
#[must_use]
#[inline(always)]
pub const fn admit(before: u64, limits: &Thresholds, now_ms: u64) -> Admission {
    let phase = phase(before);
    if limits.max_failures == 0 || phase.code == Phase::CLOSED.code {
        return Admission::Free;
    }
    let elapsed = elapsed(before, now_ms);
    let patience = limits.reset_ms as u64;
    let next = round(before) + 1;
    if phase.code == Phase::OPEN.code {
        if elapsed < patience {
            return Admission::Refused;
        }
        return Admission::Trial(word(Phase::HALF_OPEN, 1, 0, next, now_ms));
    }
    let begun = count(before);
    if begun < limits.trials as u64 {
        let start = since(before);
        let word = word(Phase::HALF_OPEN, begun + 1, good(before), round(before), start);
        return Admission::Trial(word);
    }
    if elapsed < TRIALS_MS + patience {
        return Admission::Refused;
    }
    Admission::Trial(word(Phase::HALF_OPEN, 1, 0, next, now_ms))
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Established.
    Good,
    /// Not established.
    Bad,
    /// Nothing is known: it was given up before an answer was due, or never begun.
    Unknown,
}

/// The word after the end of a connection. The same word where nothing changes: what began in an
/// earlier round says nothing.
#[must_use]
#[inline(always)]
pub const fn settle(
    before: u64,
    limits: &Thresholds,
    ticket: Ticket,
    outcome: Outcome,
    now_ms: u64,
) -> u64 {
    if limits.max_failures == 0 {
        // The breaker was taken away: whatever it knew is over.
        return word(Phase::CLOSED, 0, 0, round(before), 0);
    }
    let phase = phase(before);
    let number = round(before);
    if ticket.round != number {
        return before;
    }
    if !ticket.trial {
        let counts = matches!(outcome, Outcome::Bad) && phase.code == Phase::CLOSED.code;
        return if counts { failed(before, limits, now_ms) } else { before };
    }
    if phase.code != Phase::HALF_OPEN.code {
        return before;
    }
    let (begun, good, start) = (count(before), good(before), since(before));
    match outcome {
        Outcome::Good if good + 1 >= limits.trials as u64 => word(Phase::CLOSED, 0, 0, number, 0),
        Outcome::Good => word(Phase::HALF_OPEN, begun, good + 1, number, start),
        Outcome::Bad => word(Phase::OPEN, 0, 0, number, now_ms),
        Outcome::Unknown => word(Phase::HALF_OPEN, begun.saturating_sub(1), good, number, start),
    }
}

#[inline(always)]
const fn failed(before: u64, limits: &Thresholds, now_ms: u64) -> u64 {
    let within = count(before) > 0 && elapsed(before, now_ms) <= limits.window_ms as u64;
    let (failures, first) = if within { (count(before) + 1, since(before)) } else { (1, now_ms) };
    if failures >= limits.max_failures as u64 {
        word(Phase::OPEN, 0, 0, round(before), now_ms)
    } else {
        word(Phase::CLOSED, failures, 0, round(before), first)
    }
}

#[cfg(test)]
mod tests;
