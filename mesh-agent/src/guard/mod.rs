//! What the agent does about limits, breakers and ejections, on which the programs decide: tells
//! each change once, ejects by percentage, has ejected backends taken out of the tables and puts
//! them back, and repairs what got lost.
//!
//! ```text
//! worker ── directory: whose the words are ──┐
//! ring of events ── transitions ─────────────┼─► follower ─► lines, metrics, reports
//! shared memory ── words, every 250 ms ──────┘       └─► ejected backends ─► worker
//! ```
//!
//! `watch` says what has changed, `line` in which words, `percentage` who fails too often, `tally`
//! keeps totals (all pure), `act` changes words; `follower` runs it. `repair` is beside it.

pub mod act;
pub mod directory;
pub mod dump;
pub mod follower;
pub mod line;
pub mod metrics;
pub mod percentage;
pub mod repair;
pub mod report;
pub mod states;
pub mod stats;
pub mod tally;
pub mod watch;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch as latest;

use self::follower::{Ejected, Follower, Inboxes, Outputs};
use self::repair::Repairs;
use self::repair::runner::Runner;
use self::report::Reports;
use crate::maps::kernel::affinity::monotonic;
use crate::maps::kernel::words::KernelGuards;

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// Watches `words` of the maps below `pin_path`; the programs are attached to `cgroup`. Returns what
/// the threads do that follow and that repair, and what the control plane is to be told. `ejected`
/// has backends taken out of the tables.
pub fn open(
    (pin_path, cgroup): (&Path, &Path),
    words: KernelGuards,
    (inbox, directories): Inboxes,
    ejected: impl Fn(Ejected) + Send + 'static,
) -> (Work, Work, latest::Receiver<Arc<Reports>>) {
    let (reports, to_report) = latest::channel(Arc::default());
    let (repaired, repairs) = latest::channel(Repairs::default());
    let outputs = Outputs { ejected: Box::new(ejected), reports, repairs };
    let follower = Follower::new(words.clone(), outputs);
    let runner = Runner::new(pin_path, cgroup, words);
    let follow = Box::new(move || follower.run(&inbox, monotonic));
    let repair = Box::new(move || runner.run(&directories, &repaired, monotonic));
    (follow, repair, to_report)
}
