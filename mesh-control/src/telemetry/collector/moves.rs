//! What nodes count on another edge than before. Such a total has not grown, it has only another
//! name: what is known of both edges is shifted before it is compared with what a report says. Pure.
//!
//! Moves are numbered, so that one that is said again is not done again. Who has missed some cannot
//! say what has grown until a full report has come.

use std::collections::HashMap;

use crate::telemetry::counts::Counts;
use crate::telemetry::edge::Edge;

/// A total that is counted on another edge from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it was counted.
    pub from: Edge,
    /// Where it is counted.
    pub into: Edge,
    /// All of it.
    pub counts: Counts,
}

/// Which moves of a node are known.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Number of the last one; `None` before the first report.
    last: Option<u64>,
    /// Some were missed.
    lost: bool,
}

impl Moved {
    /// Takes the moves of a report, the last of which has the number `last_move`. Returns those that are
    /// new.
    pub(super) fn take(&mut self, mut moves: Vec<Move>, last_move: u64) -> Vec<Move> {
        // Nothing is known that could be shifted.
        let Some(last) = self.last.replace(last_move) else { return Vec::new() };
        let before = last_move.saturating_sub(u64::try_from(moves.len()).unwrap_or(u64::MAX));
        // A node that has had fewer has begun anew.
        if last_move < last || before > last {
            self.lost = true;
            return Vec::new();
        }
        let known = usize::try_from(last - before).unwrap_or(usize::MAX);
        moves.drain(..known.min(moves.len()));
        moves
    }

    /// Whether some were missed since the last full report.
    pub(super) const fn lost(&self) -> bool {
        self.lost
    }

    /// A full report has come.
    pub(super) const fn recover(&mut self) {
        self.lost = false;
    }
}

/// What goes out of an edge, and what comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    out: Counts,
    into: Counts,
    /// Something goes out.
    pub(super) leaves: bool,
}

impl Shift {
    /// What has been counted, given the totals before and now.
    pub(super) fn growth(&self, mut total: Counts, mut before: Counts) -> (Counts, bool) {
        total.add(&self.out);
        before.add(&self.into);
        total.since(&before)
    }

    /// What was known, after the shift of an edge that nothing is said of.
    pub(super) fn shifted(&self, mut before: Counts) -> Counts {
        before.add(&self.into);
        before
    }
}

/// Shifts by edge.
pub(super) type Shifts = HashMap<Edge, Shift>;

/// The shifts that moves come to. Where a move begins at an edge that nobody has heard of, it is what
/// has grown at its end; unless it `may_be_old`.
pub(super) fn shifts(
    moves: Vec<Move>,
    is_known: impl Fn(&Edge) -> bool,
    may_be_old: bool,
) -> Shifts {
    let mut shifts = Shifts::new();
    for Move { from, into, counts } in moves {
        let known = is_known(&from);
        if known {
            let shift = shifts.entry(from).or_default();
            shift.out.add(&counts);
            shift.leaves = true;
        }
        if known || may_be_old {
            shifts.entry(into).or_default().into.add(&counts);
        }
    }
    shifts
}
