//! One node: which of its reports was the last, and the last totals of its edges.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Change, EdgeId, Edges, NodeId, Outcome, Taken};
use crate::telemetry::counts::Counts;
use crate::telemetry::edge::Edge;

/// Runs of an agent whose late reports are told from those of a new one.
const PAST_RUNS: usize = 8;
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
    /// Edges that there is no room for here.
    left_out: u64,
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
            left_out: 0,
        }
    }

    pub(super) const fn id(&self) -> NodeId {
        self.id
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) const fn wants_all(&self) -> bool {
        self.missing
    }

    pub(super) const fn omitted(&self) -> u64 {
        self.omitted.saturating_add(self.left_out)
    }

    pub(super) fn away(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
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

    /// Takes totals over, and says what has grown.
    pub(super) fn count(
        &mut self,
        edges: Vec<(Edge, Counts)>,
        full: bool,
        all: &mut Edges,
        taken: &mut Taken,
        now: Instant,
    ) {
        self.round += 1;
        let mut left_out = 0;
        for (edge, total) in edges {
            if let Some(known) = self.edges.get_mut(&edge) {
                let (growth, reset) = total.since(&known.total);
                known.total = total;
                known.round = self.round;
                known.gone = None;
                taken.resets += usize::from(reset);
                if !growth.is_zero() {
                    let edge = Arc::clone(&known.edge);
                    taken.changes.push(Change { id: known.id, edge, growth });
                }
                continue;
            }
            let Some(id) = all.admit(&edge) else {
                left_out += 1;
                continue;
            };
            let edge = Arc::new(edge);
            // While some have no room, one that gets some may be old.
            if self.complete && self.left_out == 0 && !total.is_zero() {
                taken.changes.push(Change { id, edge: Arc::clone(&edge), growth: total });
            }
            let known = Known { id, edge: Arc::clone(&edge), total, round: self.round, gone: None };
            self.edges.insert(edge, known);
        }
        if full {
            self.complete = true;
            self.left_out = left_out;
            let round = self.round;
            for known in self.edges.values_mut().filter(|known| known.round != round) {
                known.gone = known.gone.or(Some(now));
            }
        } else {
            self.left_out = self.left_out.max(left_out);
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
