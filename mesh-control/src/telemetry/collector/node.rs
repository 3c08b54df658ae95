//! One node: which of its reports was the last, and the last totals of its edges.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::moves::{Move, Moved, Shifts, shifts};
use super::{Change, EdgeId, Edges, NodeId, Outcome, Reporting, Taken};
use crate::telemetry::counts::Counts;
use crate::telemetry::edge::Edge;

/// Runs of an agent whose late reports are told from those of a new one.
const PAST_RUNS: usize = 8;
/// How often a node is asked for edges that there was no room for.
const ASK: Duration = Duration::from_mins(1);
/// Memory of an edge beside itself: its entry in the hash table, of which one in eight is empty at
/// best and half at worst.
const ENTRY: usize = (size_of::<Arc<Edge>>() + size_of::<Known>()) * 3 / 2;

#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    run: String,
    past_runs: VecDeque<String>,
    sequence: u64,
    heard: Instant,
    interval: Duration,
    /// It has reported all of its edges once.
    complete: bool,
    /// A report is missing since the last full one.
    missing: bool,
    edges: HashMap<Arc<Edge>, Known>,
    /// Counts full reports, to see which edges are in one.
    round: u64,
    omitted: u64,
    moved: Moved,
    /// Edges that there is no room for here.
    left_out: u64,
    /// When it was asked for these last.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    id: EdgeId,
    edge: Arc<Edge>,
    total: Counts,
    round: u64,
    /// Since when it is no longer reported. It is remembered for a while: if it comes back, its
    /// total goes on.
    gone: Option<Instant>,
}

impl Node {
    pub(super) fn new(id: NodeId, now: Instant) -> Self {
        Self {
            id,
            run: String::new(),
            past_runs: VecDeque::new(),
            sequence: 0,
            heard: now,
            interval: Duration::from_secs(1),
            complete: false,
            missing: true,
            edges: HashMap::new(),
            round: 0,
            omitted: 0,
            moved: Moved::default(),
            left_out: 0,
            asked: None,
        }
    }

    pub(super) const fn id(&self) -> NodeId {
        self.id
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) const fn wants_all(&self) -> bool {
        self.missing || self.moved.lost()
    }

    /// Whether it is time to ask for all because there is room again for edges that were left out.
    pub(super) fn asks_again(&mut self, all: &Edges, now: Instant) -> bool {
        let soon = self.asked.is_some_and(|at| now.saturating_duration_since(at) < ASK);
        let asks = self.left_out > 0 && !soon && all.bytes < all.limit / 8 * 7;
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    pub(super) const fn omitted(&self) -> u64 {
        self.omitted.saturating_add(self.left_out)
    }

    pub(super) fn away(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(super) fn reporting<'a>(&'a self, node: &'a str, now: Instant) -> Reporting<'a> {
        let (age, late) = (self.away(now), self.is_late(now));
        Reporting { node, run: &self.run, age, late, omitted: self.omitted() }
    }

    /// Puts a report where it belongs among the others.
    pub(super) fn hear(&mut self, run: String, sequence: u64, full: bool, now: Instant) -> Outcome {
        if self.past_runs.contains(&run) {
            return Outcome::Repeated;
        }
        let next = if run == self.run {
            if sequence <= self.sequence {
                return Outcome::Repeated;
            }
            self.sequence.saturating_add(1)
        } else {
            let past = std::mem::replace(&mut self.run, run);
            if self.past_runs.len() == PAST_RUNS {
                self.past_runs.pop_front();
            }
            if !past.is_empty() {
                self.past_runs.push_back(past);
            }
            1
        };
        self.sequence = sequence;
        self.heard = self.heard.max(now);
        // A full report makes good for all that are missing.
        self.missing = !full && (self.missing || sequence != next);
        if full || sequence == next { Outcome::Taken } else { Outcome::Gap }
    }

    pub(super) const fn settle(&mut self, interval: Duration, omitted: u64) {
        self.interval = interval;
        self.omitted = omitted;
    }

    /// What the moves of a report come to, of which some may be known.
    pub(super) fn shifts(&mut self, moves: Vec<Move>, last_move: u64) -> Shifts {
        let moves = self.moved.take(moves, last_move);
        let may_be_old = !self.complete || self.left_out > 0;
        shifts(moves, |edge| self.edges.contains_key(edge), may_be_old)
    }

    /// Takes totals over, and says what has grown.
    pub(super) fn count(
        &mut self,
        (edges, mut shifts): (Vec<(Edge, Counts)>, Shifts),
        full: bool,
        anew: bool,
        all: &mut Edges,
        taken: &mut Taken,
        now: Instant,
    ) {
        self.round += 1;
        let mut left_out = 0;
        // Otherwise nobody can say what has grown.
        let comparable = !(self.moved.lost() || full && anew);
        for (edge, total) in edges {
            let shift = shifts.remove(&edge).unwrap_or_default();
            if let Some(known) = self.edges.get_mut(&edge) {
                let (growth, reset) = shift.growth(total, known.total);
                known.total = total;
                known.round = self.round;
                known.gone = None;
                if comparable {
                    taken.grown(known, growth, reset);
                }
                continue;
            }
            let Some(id) = all.admit(&edge) else {
                left_out += 1;
                continue;
            };
            let edge = Arc::new(edge);
            let known = Known { id, edge: Arc::clone(&edge), total, round: self.round, gone: None };
            // While some have no room, one that gets some may be old.
            if comparable && self.complete && self.left_out == 0 {
                let (growth, _) = shift.growth(total, Counts::default());
                taken.grown(&known, growth, false);
            }
            self.edges.insert(edge, known);
        }
        self.shift(shifts, comparable, all, taken);
        if full {
            self.complete = true;
            self.moved.recover();
            self.left_out = left_out;
            let round = self.round;
            for known in self.edges.values_mut().filter(|known| known.round != round) {
                known.gone = known.gone.or(Some(now));
            }
        } else {
            self.left_out = self.left_out.max(left_out);
        }
    }

    /// Shifts what a report says nothing else of: an edge that something leaves has ended there.
    fn shift(&mut self, shifts: Shifts, comparable: bool, all: &mut Edges, taken: &mut Taken) {
        for (edge, shift) in shifts {
            if !shift.leaves {
                if let Some(known) = self.edges.get_mut(&edge) {
                    known.total = shift.shifted(known.total);
                }
            } else if let Some(known) = self.edges.remove(&edge) {
                all.release(&edge);
                if comparable {
                    let (growth, reset) = shift.growth(Counts::default(), known.total);
                    taken.grown(&known, growth, reset);
                }
            }
        }
    }

    /// Forgets edges, by since when they are gone.
    pub(super) fn forget(&mut self, all: &mut Edges, is_over: impl Fn(Option<Instant>) -> bool) {
        self.edges.retain(|edge, known| {
            let over = is_over(known.gone);
            if over {
                all.release(edge);
            }
            !over
        });
    }

    pub(super) fn totals(&self) -> impl Iterator<Item = (NodeId, &Edge, &Counts)> {
        let present = self.edges.iter().filter(|(_, known)| known.gone.is_none());
        present.map(|(edge, known)| (self.id, &**edge, &known.total))
    }

    /// Its next report should have been here.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        /// Of a report on its way, and of two clocks.
        const GRACE: Duration = Duration::from_secs(1);
        self.away(now) > self.interval * 2 + GRACE
    }
}

impl Taken {
    fn grown(&mut self, known: &Known, growth: Counts, reset: bool) {
        self.resets += usize::from(reset);
        if !growth.is_zero() {
            self.changes.push(Change { id: known.id, edge: Arc::clone(&known.edge), growth });
        }
    }
}

impl Edges {
    /// A number for a new edge, if there is memory for it.
    fn admit(&mut self, edge: &Edge) -> Option<EdgeId> {
        let bytes = self.bytes + edge.memory() + ENTRY;
        (bytes <= self.limit).then(|| {
            self.bytes = bytes;
            self.count += 1;
            self.next += 1;
            EdgeId(self.next)
        })
    }

    fn release(&mut self, edge: &Edge) {
        self.bytes = self.bytes.saturating_sub(edge.memory() + ENTRY);
        self.count = self.count.saturating_sub(1);
    }
}
