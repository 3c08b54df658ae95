//! Who makes connections: what the kernel has counted by client, put together with what it has
//! counted of backends as a whole. `names` says who a client is, `rest` sees to it that all rows
//! come to what the backends have, `roster` that there are not too many of them.

pub mod dump;
pub mod names;
pub mod refusals;
mod rest;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use mesh_api::clients;
use mesh_api::model::Label;
use mesh_common::counter::BackendCounters;
use mesh_common::edge::{EdgeCounters, FailureCause};

use crate::ledger::{Account, Count as _};

use self::refusals::Refusals;
pub use self::rest::Rest;
pub use self::roster::{Roster, SOURCES, Seat};

/// Who makes connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A workload of this node.
    Workload(Label),
    /// One of the workloads that are counted together, because there are too many.
    Other,
    /// Not known: the cgroup had gone before anybody asked for its name, or the kernel had no room
    /// to count the connection by client.
    #[default]
    Unknown,
}

impl Source {
    /// As metrics call it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Workload(name) => name.as_str(),
            Self::Other => clients::OTHER,
            Self::Unknown => clients::UNKNOWN,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the kernel has counted by client, by who the client is and who is counted.
pub type Edges = BTreeMap<(Source, Account), EdgeCounters>;

/// Whose rows there are, and how often each was used.
pub fn uses<'a>(
    edges: &'a Edges,
    refusals: &'a Refusals,
) -> impl Iterator<Item = (&'a Source, u64)> {
    let edges = edges.iter().map(|((source, _), it)| {
        let failed: u64 = it.failed.iter().sum();
        (source, it.opened.saturating_add(failed))
    });
    edges.chain(refusals.iter().map(|((source, _), it)| (source, it.total())))
}

/// Rows of the metrics. For each account, they come to its total, but for the attempts: those are
/// nobody's until the kernel knows who makes them.
pub type Rows = BTreeMap<(Source, Account), Row>;

/// A row of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What backends count of themselves, without attempts.
    pub counters: BackendCounters,
    /// Those that failed, by [`FailureCause`].
    pub failures: [u64; FailureCause::COUNT],
    /// Sum of the lives of `timed` connections, microseconds.
    pub duration_us: u64,
    /// How many of the closed ones `duration_us` is of.
    pub timed: u64,
}

impl Row {
    /// Of an edge to this account. Of UDP flows, nobody knows when they have begun.
    #[must_use]
    pub fn of_edge(account: &Account, edge: &EdgeCounters) -> Self {
        Self {
            counters: whole(edge),
            failures: edge.failed,
            duration_us: edge.duration_us,
            timed: if account.udp { 0 } else { edge.closed },
        }
    }

    fn of_rest(rest: BackendCounters) -> Self {
        let mut failures = [0; FailureCause::COUNT];
        // The first, which is what is not known.
        if let Some(unknown) = failures.first_mut() {
            *unknown = rest.failed;
        }
        Self { counters: rest, failures, ..Self::default() }
    }

    /// Adds another row.
    pub fn add(&mut self, other: &Self) {
        let Self { counters, failures, duration_us, timed } = other;
        self.counters = self.counters.plus(*counters);
        for (sum, more) in self.failures.iter_mut().zip(failures) {
            *sum = sum.wrapping_add(*more);
        }
        self.duration_us = self.duration_us.wrapping_add(*duration_us);
        self.timed = self.timed.wrapping_add(*timed);
    }
}

/// As the backend has counted the same connections.
fn whole(edge: &EdgeCounters) -> BackendCounters {
    BackendCounters {
        attempts: 0,
        opened: edge.opened,
        failed: edge.failed.iter().fold(0, |sum, count| sum.wrapping_add(*count)),
        closed: edge.closed,
        bytes_sent: edge.bytes_sent,
        bytes_received: edge.bytes_received,
        retransmits: edge.retransmits,
        rtt_us: edge.rtt_us,
    }
}

/// Adds to what is there.
pub fn add(edges: &mut Edges, source: Source, account: &Account, counters: &EdgeCounters) {
    let sum = edges.entry((source, account.clone())).or_default();
    *sum = sum.and(counters);
}
