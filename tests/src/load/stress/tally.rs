//! What a run comes to: shared by all tasks of both threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_common::accel::{Direction, Pair, Path};
use serde_json::{Value, json};

use super::plan::{PREFIX, Plan, Side};

/// Complaints that are told in words.
const MOST: usize = 10;

/// How far one direction got.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) sent: AtomicU64,
    pub(super) taken: AtomicU64,
}

impl Way {
    /// Whether the sender has sent what the reader has not got.
    pub(super) fn is_behind(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.sent.load(Ordering::Relaxed)
    }
}

/// How far one connection got.
#[derive(Debug, Default)]
pub(super) struct Progress {
    up: Way,
    down: Way,
}

impl Progress {
    /// The direction in which this end sends.
    pub(super) const fn way(&self, by: Side) -> &Way {
        match by {
            Side::Client => &self.up,
            Side::Server => &self.down,
        }
    }
}

/// Sums over all connections.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Sums>);

#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) whole: u64,
    pub(super) cut: u64,
    /// Bytes that connections without a cut have sent, each way.
    pub(super) whole_up: u64,
    pub(super) whole_down: u64,
    /// Bytes that were read, and found right.
    pub(super) bytes: u64,
    pub(super) mismatches: u64,
    pub(super) stalls: u64,
    pub(super) longest_wait_ms: u64,
    accelerated: u64,
    accelerated_whole: u64,
    forgotten: u64,
    redirected_bytes: u64,
    redirected_messages: u64,
    redirected: u64,
    went_over: u64,
    by_tcp: u64,
    miscounted: u64,
    complaints: Vec<String>,
}

impl Tally {
    pub(super) fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mismatch(&self, complaint: String) {
        let mut sums = self.sums();
        sums.mismatches += 1;
        sums.complain(complaint);
    }

    pub(super) fn stall(&self, complaint: String) {
        let mut sums = self.sums();
        sums.stalls += 1;
        sums.complain(complaint);
    }
}

impl Sums {
    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < MOST {
            self.complaints.push(complaint);
        }
    }

    /// Adds what the programs say about an accelerated connection that its client is about to
    /// close; nothing, where it has ended already and another one has got its place.
    pub(super) fn account(
        &mut self,
        number: u64,
        plan: &Plan,
        progress: &Progress,
        pair: Option<&Pair>,
    ) {
        self.accelerated += 1;
        self.accelerated_whole += u64::from(plan.is_whole());
        let Some(pair) = pair else {
            self.forgotten += 1;
            return;
        };
        let ways = [
            (Side::Client, pair.sent_path, pair.sent),
            (Side::Server, pair.received_path, pair.received),
        ];
        for (by, path, Direction { bytes, messages, .. }) in ways {
            self.redirected_bytes += bytes;
            self.redirected_messages += u64::from(messages);
            match path {
                Path::REDIRECTED => self.redirected += 1,
                Path::LEFT => self.went_over += 1,
                Path::TCP => self.by_tcp += 1,
                // Nothing was sent.
                _ => {}
            }
            let sent = progress.way(by).sent.load(Ordering::Relaxed);
            let right = if path == Path::REDIRECTED { bytes == sent } else { bytes <= sent };
            if plan.is_whole() && !right {
                self.miscounted += 1;
                self.complain(format!("{number}: {by:?} sent {sent}, {bytes} were counted"));
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "connections": self.whole + self.cut,
            "connections_cut": self.cut,
            "bytes": self.bytes,
            "bytes_up_without_cut": self.whole_up,
            "bytes_down_without_cut": self.whole_down,
            "mismatches": self.mismatches,
            "stalls": self.stalls,
            "longest_wait_ms": self.longest_wait_ms,
            "accelerated": self.accelerated,
            "accelerated_without_cut": self.accelerated_whole,
            "accounts_overwritten": self.forgotten,
            "redirected_bytes": self.redirected_bytes,
            "redirected_messages": self.redirected_messages,
            "directions_redirected": self.redirected,
            "directions_that_went_over_to_tcp": self.went_over,
            "directions_by_tcp": self.by_tcp,
            "miscounted": self.miscounted,
            "complaints": self.complaints,
        })
    }
}

/// The prefix that is not data.
pub(super) const fn data(position: u64) -> u64 {
    position - PREFIX
}
