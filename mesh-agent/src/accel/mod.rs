//! Same-node acceleration: what this kernel can do of it, tried before it is used.
//!
//! ```text
//! socket_layout  the kernel's BTF → where a socket keeps what the program looks at
//! selftest       sockets of the agent's own in private maps → a verdict for each case
//! judge          verdicts → whether connections may be accelerated (pure)
//! ```

mod btf;
pub mod case;
pub mod judge;
pub mod metrics;
mod selftest;
mod socket_layout;
mod sys;

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
    let verdicts = match layout {
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

/// All cases, not run for the same reason.
fn not_run(why: &str) -> Vec<Verdict> {
    let verdict = |case| Verdict { case, outcome: Outcome::NotRun(why.to_owned()) };
    Case::ALL.into_iter().map(verdict).collect()
}
