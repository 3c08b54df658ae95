//! Which records of the table belong to no connection any more. Pure.
//!
//! A record is taken back only where two complete looks at the sockets of all network namespaces,
//! some time apart, have not found its socket, or where its socket was given a backend a minute
//! ago and has not begun to connect since.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mesh_common::conn::{ConnRecord, Stage};

/// How long a connection must have lasted before its socket is looked for, and how long its
/// socket must have been missing.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a socket may have a backend without a connect: the kernel sends the SYN at once.
pub const CHOSEN: Duration = Duration::from_mins(1);

/// A record of the table, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the map `conns`.
    pub place: u32,
    /// Whose it is.
    pub cookie: u64,
    /// The record.
    pub record: ConnRecord,
}

impl Entry {
    /// Whether both are about the same connection in the same stage of it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            let ConnRecord { stage, started_ns, generation, backend, .. } = it.record;
            (it.place, it.cookie, stage, started_ns, generation, backend)
        };
        of(self) == of(other)
    }
}

/// What looks have found so far.
#[derive(Debug, Default)]
pub struct Leaks {
    /// Records without a socket, and since when.
    missing: HashMap<u64, (Entry, Duration)>,
    /// Sockets with a backend that have not begun to connect, and since when.
    chosen: HashMap<u64, (Entry, Duration)>,
}

/// Whether the record is one of a connection that has lasted.
#[must_use]
pub fn has_lasted(entry: &Entry, now: Duration) -> bool {
    let started = Duration::from_nanos(entry.record.started_ns);
    matches!(entry.record.stage, Stage::CONNECTING | Stage::OPEN)
        && now.saturating_sub(started) >= PATIENCE
}

impl Leaks {
    /// Takes a look: `records` are those of the table, `alive` the sockets that are there of those
    /// that have lasted, `None` where not all namespaces could be looked at. Returns the records
    /// that are to be taken back. `now` is `CLOCK_MONOTONIC`.
    pub fn look(
        &mut self,
        now: Duration,
        records: &[Entry],
        alive: Option<&HashSet<u64>>,
    ) -> Vec<Entry> {
        let mut leaked = Vec::new();
        if let Some(alive) = alive {
            let gone = |it: &&Entry| has_lasted(it, now) && !alive.contains(&it.cookie);
            let gone = records.iter().filter(gone).copied();
            leaked.extend(overdue(&mut self.missing, now, PATIENCE, gone));
        }
        let chosen = records.iter().filter(|it| it.record.stage == Stage::CHOSEN).copied();
        leaked.extend(overdue(&mut self.chosen, now, CHOSEN, chosen));
        leaked
    }
}

/// Notes which entries are there now, and returns those that have been for long.
fn overdue(
    known: &mut HashMap<u64, (Entry, Duration)>,
    now: Duration,
    patience: Duration,
    entries: impl Iterator<Item = Entry>,
) -> Vec<Entry> {
    let mut before = std::mem::take(known);
    let mut due = Vec::new();
    for entry in entries {
        let since = before.remove(&entry.cookie).filter(|(it, _)| it.is_same(&entry));
        let since = since.map_or(now, |(_, since)| since);
        if now.saturating_sub(since) >= patience {
            due.push(entry);
        } else {
            known.insert(entry.cookie, (entry, since));
        }
    }
    due
}
