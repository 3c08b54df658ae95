//! What was counted over time, in a memory that is fixed: steps of a second for minutes, longer
//! ones for hours. Growth is put into the second in which it becomes known; a step in which a node
//! has not reported is unknown of it, never made up.
//!
//! Time is seconds since the control plane started. Edges that are evicted or forgotten are never
//! looked for again in the steps that name them, since their numbers are not given out twice.

pub mod codec;
pub mod log;
pub mod metrics;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use codec::{Reader, Record, encode};
use log::{Log, Tier};
use table::{Limits, Table};

use super::collector::{Attendance, Change, EdgeId, NodeId};
use super::counts::Counts;

/// The logs, each made of the one before. The last is the longest.
pub const TIERS: [Tier; 3] = [
    Tier { step: 1, keep: 900, share: 30 },
    Tier { step: 10, keep: 360, share: 20 },
    Tier { step: 120, keep: 720, share: 50 },
];

/// The series.
#[derive(Debug)]
pub struct SeriesBook {
    table: Table,
    logs: [Log; TIERS.len()],
    /// The second that goes on, and what was counted in it.
    open: u64,
    pending: BTreeMap<EdgeId, Counts>,
}

/// Steps of one length, some to a point.
#[derive(Clone, Debug)]
pub struct Steps {
    /// Seconds of a step.
    pub step: u64,
    /// Steps to a point.
    pub group: u64,
    /// Numbers of the points; that of a step, divided by `group`, is the number of its point.
    pub points: Range<u64>,
    /// The steps that are known, in order.
    pub records: Vec<(u64, Record)>,
}

impl SeriesBook {
    /// No series; `memory` bytes for the steps.
    #[must_use]
    pub fn new(limits: Limits, memory: usize) -> Self {
        Self {
            table: Table::new(limits),
            logs: TIERS.map(|tier| Log::new(tier, memory / 100 * tier.share)),
            open: 0,
            pending: BTreeMap::new(),
        }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The logs.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.logs.iter()
    }

    /// The second that goes on.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.open
    }

    /// Counts in the second that goes on.
    pub fn grow(&mut self, node: NodeId, changes: &[Change]) {
        for change in changes {
            let id = self.table.place(node, change, self.open);
            self.pending.entry(id).or_default().add(&change.growth);
        }
    }

    /// A second begins: those before are over. `attendance` is who is known by now.
    pub fn advance(&mut self, second: u64, attendance: &Attendance) {
        while self.open < second {
            let pending = std::mem::take(&mut self.pending);
            let counted = pending.keys().filter_map(|id| self.table.node(*id));
            let known: BTreeSet<NodeId> = attendance.known.iter().copied().chain(counted).collect();
            let step = Step { known, late: attendance.late.iter().copied().collect(), pending };
            let index = self.open;
            self.open += 1;
            let [fine, ..] = &mut self.logs;
            step.push(fine, index);
            self.fold();
        }
    }

    /// Makes longer steps of those that are over now.
    fn fold(&mut self) {
        let mut logs = self.logs.iter_mut();
        let Some(mut from) = logs.next() else { return };
        for to in logs {
            let length = to.tier().step;
            if !self.open.is_multiple_of(length) {
                return;
            }
            let (first, last) = (self.open - length, self.open - 1);
            let parts = from.steps(first / from.tier().step..self.open / from.tier().step);
            let mut step = Step::default();
            for (_, part) in parts {
                step.add(part);
            }
            step.push(to, last / length);
            from = to;
        }
    }

    /// The shortest steps that reach back so many seconds, in so many points at most. A point is not
    /// given before it is over.
    #[must_use]
    pub fn steps(&self, seconds: u64, most: u64) -> Steps {
        let reaching = self.logs.iter().find(|log| log.reaches(seconds, self.open));
        let [.., longest] = &self.logs;
        let log = reaching.unwrap_or(longest);
        let step = log.tier().step;
        let group = seconds.div_ceil(step).div_ceil(most.max(1)).max(1);
        let end = self.open / (step * group);
        // A point whose first steps are not kept any more would show too little.
        let kept = (self.open / step).saturating_sub(log.tier().keep);
        let first = end.saturating_sub(seconds.div_ceil(step * group)).max(kept.div_ceil(group));
        let records = log.steps(first * group..end * group).cloned().collect();
        Steps { step, group, points: first..end, records }
    }
}

/// A step on its way into a log.
#[derive(Default)]
struct Step {
    known: BTreeSet<NodeId>,
    late: BTreeSet<NodeId>,
    pending: BTreeMap<EdgeId, Counts>,
}

impl Step {
    /// Adds a shorter one.
    fn add(&mut self, part: &Record) {
        let (attendance, edges) = Reader::new(part);
        self.known.extend(attendance.known);
        self.late.extend(attendance.late);
        for (id, counts) in edges {
            self.pending.entry(id).or_default().add(&counts);
        }
    }

    /// A step that is of nobody is left out.
    fn push(self, log: &mut Log, index: u64) {
        let Self { known, mut late, pending } = self;
        if known.is_empty() && late.is_empty() {
            return;
        }
        late.retain(|node| !known.contains(node));
        let attendance =
            Attendance { known: known.into_iter().collect(), late: late.into_iter().collect() };
        log.push(index, encode(&attendance, &pending));
    }
}
