//! Same-node acceleration: what this kernel can do of it, tried before it is used.
//!
//! ```text
//! socket_layout  the kernel's BTF → where a socket keeps what the program looks at
//! selftest       sockets of the agent's own in private maps → a verdict for each case
//! judge          verdicts → whether connections may be accelerated (pure)
//! live           what goes past TCP, in words and figures (pure)
//! ```
//!
//! `auto` decides about services that leave it to the agent.

pub mod auto;
mod btf;
pub mod case;
pub mod judge;
pub mod live;
pub mod metrics;
mod selftest;
mod socket_layout;
mod sys;

use std::fs;

use mesh_common::accel::SocketLayout;

use self::case::{Case, Outcome, Verdict};
use self::judge::{Acceleration, judge};
use crate::memory;

/// What is known about acceleration on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What to give the programs; None where nothing may be accelerated.
    pub layout: Option<SocketLayout>,
    /// Whether connections may be accelerated.
    pub judgement: Acceleration,
    /// What was tried; empty where acceleration is not wanted.
    pub verdicts: Vec<Verdict>,
}

/// Reads the kernel's layout, and tries on private maps and sockets what acceleration does with
/// them. Takes a fraction of a second, and some seconds at most. Nothing of it stays. Logs what came
/// out.
#[must_use]
pub fn prepare(object: &[u8], wanted: bool) -> Prepared {
    if !wanted {
        return Prepared { layout: None, judgement: Acceleration::Off, verdicts: Vec::new() };
    }
    let layout = socket_layout::read();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let verdicts = match layout {
        _ if !is_safe(&release) => not_run(
            "kernels before 6.18 mistake an accelerated socket that a listener for MPTCP has accepted \
             (Linux commit c77b3b79a92e); such listeners are the default of some languages",
        ),
        Some(layout) => selftest::run(object, &layout),
        None => not_run(
            "the kernel's BTF (/sys/kernel/btf/vmlinux) does not say where a TCP socket keeps \
             what waits in it",
        ),
    };
    // The kernel's description and the object are some MiB.
    memory::give_back();
    let judgement = judge(&verdicts);
    let layout = match &judgement {
        Acceleration::Usable { .. } => {
            tracing::info!(verdict = %judgement, "tried same-node acceleration");
            layout
        }
        Acceleration::Unusable { .. } | Acceleration::Off => {
            tracing::warn!(verdict = %judgement, "tried same-node acceleration");
            None
        }
    };
    Prepared { layout, judgement, verdicts }
}

/// Where this kernel's TCP sockets have the errno that the application gets; 0 where that is not
/// known, and failed connections are counted without a cause.
#[must_use]
pub fn socket_error_at() -> u32 {
    let offset = socket_layout::error_at();
    memory::give_back();
    offset
}

/// Whether a kernel of this release knows what is TCP when its sockets are in a sockhash. Earlier
/// series have got the correction in later patches; which, nobody here has tried.
fn is_safe(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok);
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= (6, 18))
}

/// All cases, not run for the same reason.
fn not_run(why: &str) -> Vec<Verdict> {
    let verdict = |case| Verdict { case, outcome: Outcome::NotRun(why.to_owned()) };
    Case::ALL.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_that_know_tcp_in_a_sockhash_are_tried() {
        for (release, safe) in [
            ("6.18.44-fc-v669\n", true),
            ("6.18-rc7", true),
            ("7.0.1", true),
            ("6.17.9", false),
            ("6.8.0-31-generic", false),
            ("5.15.0", false),
            ("", false),
        ] {
            assert_eq!(is_safe(release), safe, "{release}");
        }
    }
}
