//! `acceleration: Auto`: accelerates connections of a client to a service only where what is seen of
//! both speaks for it, and ends it at the first sign against.
//!
//! ```text
//! the programs' records ─┐
//! socket diagnostics ────┼─► look ─► evidence ─► judge ─► the map `auto_clients`
//! /proc/PID/fdinfo ──────┘            (pure)     (pure)
//! ```
//!
//! `traffic` says what a connection has carried, `census` whether those of a service end soon,
//! `evidence` what all of a client say, `judge` what follows, `why` why not (all pure); `holders` finds the processes
//! that hold sockets, and `absent` says when to look again for those that it does not (pure); `look`
//! puts together what can be seen, `runner` does it again and again, and `troubles` says what it
//! complains about (pure).

mod absent;
pub mod census;
pub mod evidence;
pub mod holders;
pub mod judge;
mod look;
pub mod metrics;
mod runner;
pub mod traffic;
mod troubles;
pub mod why;

use std::time::Duration;

pub use self::runner::run;

/// Sockets of a service that are looked at in one look; with more, they take turns.
pub const MOST_SOCKETS: usize = 256;

/// How often it is looked, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two looks.
    pub interval: Duration,
    /// How long a long-lived connection has been open.
    pub long: Duration,
    /// How long a connection has been open before its sockets are looked at: the server has to accept
    /// it, and both may make their sockets non-blocking only then.
    pub settle: Duration,
    /// Looks in a row that must speak for it.
    pub looks: u32,
    /// How long nothing is granted after the first sign against; twice as long after each other.
    pub first_pause: Duration,
    /// The longest such pause. What went well for as long was no mistake.
    pub longest: Duration,
    /// Without a connection for so long, a client loses what was granted.
    pub forget: Duration,
}

impl Settings {
    /// What is sensible for looks that are so far apart.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            long: interval,
            settle: interval.min(Duration::from_secs(1)),
            looks: 2,
            first_pause: interval.saturating_mul(6),
            longest: interval.saturating_mul(360),
            forget: interval.saturating_mul(6),
        }
    }

    /// How long nothing is granted after so many failures before.
    #[must_use]
    pub fn back_off(&self, failures: u32) -> Duration {
        let times = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first_pause.saturating_mul(times).min(self.longest)
    }
}
