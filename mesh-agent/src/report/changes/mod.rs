//! Which rows the control plane does not know yet. Pure: rows and answers come in, reports go out.
//!
//! Every value is a total, so a report may be lost, be taken without the answer arriving, or come
//! twice: the next one says again all that is not known to have arrived. Each has a number of its
//! own; a control plane that misses one asks for all.
//!
//! Where a total is counted on another edge from some moment on, reports say so until one of them has
//! been answered, and say the totals of both edges again: so whoever takes any of them knows both.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire::{
    Cause, Edge, EdgeTraffic, Move, ReportTrafficRequest, ReportTrafficResponse, Traffic,
};

use prost::Message as _;

use super::rows::Counted;
use crate::edges::Source;

/// Most edges of a node with a row of their own: usually some 2 MiB before they are compressed.
pub const MAX_EDGES: usize = 20_000;
/// Most bytes of them, so that a report with the moves that are kept is below the 16 MiB that the
/// control plane takes. With long names there are fewer edges.
const MAX_BYTES: usize = 12 << 20;
/// Bytes of what is counted on an edge.
const TRAFFIC: usize = 384;

/// See the module.
#[derive(Debug)]
pub struct Changes {
    node: String,
    run: String,
    most: usize,
    sequence: u64,
    /// What the control plane is known to know.
    told: HashMap<Edge, Traffic>,
    /// Edges that have a row of their own, for as long as there is such an edge, so that no total
    /// falls; and those that have been counted together, which never get one.
    placed: HashSet<Edge>,
    /// What they take in a report, at the most.
    bytes: usize,
    crowd: HashSet<Edge>,
    /// Moves that are not known to have arrived, as the first report has called the edges, and the
    /// number of the last.
    moves: VecDeque<Move>,
    last_move: u64,
    /// What the report under way says.
    pending: Vec<(Edge, Traffic)>,
    /// Whether the next report says everything.
    all: bool,
    /// A report was answered.
    heard: bool,
    omitted: u64,
}

impl Changes {
    /// Nothing was told. `run` tells this start of the agent from others.
    #[must_use]
    pub fn new(node: String, run: String, most: usize) -> Self {
        Self {
            node,
            run,
            most,
            sequence: 0,
            told: HashMap::new(),
            placed: HashSet::new(),
            bytes: 0,
            crowd: HashSet::new(),
            moves: VecDeque::new(),
            last_move: 0,
            heard: false,
            pending: Vec::new(),
            all: true,
            omitted: 0,
        }
    }

    /// The next report, given what is counted now. `interval`: until the one after.
    pub fn next(
        &mut self,
        counted: impl Into<Counted>,
        interval: Duration,
    ) -> ReportTrafficRequest {
        let Counted { rows, moves, last_move } = counted.into();
        self.sequence += 1;
        if self.all {
            self.told.clear();
        }
        let rows = self.cap(rows);
        self.take_moves(moves, last_move, &rows);
        let ends = self.moves.iter().flat_map(|it| [&it.from, &it.into]).flatten();
        let ends: HashSet<&Edge> = ends.collect();
        let is_news = |(edge, traffic): &(Edge, Traffic)| {
            ends.contains(edge) || self.told.get(edge) != Some(traffic)
        };
        self.pending = rows.into_iter().filter(is_news).collect();
        let row = |(edge, traffic): &(Edge, Traffic)| EdgeTraffic {
            edge: Some(edge.clone()),
            traffic: Some(traffic.clone()),
        };
        ReportTrafficRequest {
            node: self.node.clone(),
            run: self.run.clone(),
            sequence: self.sequence,
            full: self.all,
            edges: self.pending.iter().map(row).collect(),
            omitted: self.omitted,
            interval_ms: milliseconds(interval),
            moves: self.moves.iter().cloned().collect(),
            last_move: self.last_move,
            // An earlier run may have counted others together.
            anew: self.all && !self.heard && self.omitted > 0,
        }
    }

    /// Takes over moves that are new. An edge that something was moved away from has ended.
    fn take_moves(&mut self, moves: Vec<Move>, last_move: u64, rows: &[(Edge, Traffic)]) {
        let count = u64::try_from(moves.len()).unwrap_or(u64::MAX);
        let known = usize::try_from(self.last_move.saturating_sub(last_move.saturating_sub(count)));
        let known = known.unwrap_or(usize::MAX).min(moves.len());
        // Those that were answered, or that nobody keeps any more.
        self.moves.drain(..self.moves.len().saturating_sub(known));
        let present: HashSet<&Edge> = if known < moves.len() {
            rows.iter().map(|(edge, _)| edge).collect()
        } else {
            HashSet::new()
        };
        for mut it in moves.into_iter().skip(known) {
            for end in [&mut it.from, &mut it.into] {
                let Some(edge) = end.as_ref() else { continue };
                if self.crowd.contains(edge) {
                    *end = Some(other(edge));
                }
            }
            if let Some(from) = it.from.as_ref().filter(|from| !present.contains(from)) {
                if self.placed.remove(from) {
                    self.bytes = self.bytes.saturating_sub(size(from));
                }
                self.crowd.remove(from);
                self.told.remove(from);
            }
            self.moves.push_back(it);
        }
        self.last_move = last_move;
    }

    /// The control plane has answered the last report. Returns whether it wants all at once.
    pub fn answered(&mut self, answer: ReportTrafficResponse) -> bool {
        self.told.extend(self.pending.drain(..));
        self.heard = true;
        self.moves.clear();
        let was_all = std::mem::replace(&mut self.all, answer.send_all);
        answer.send_all && !was_all
    }

    /// Nobody knows whether the last report has arrived. The next one says again what it said.
    pub fn failed(&mut self) {
        self.pending.clear();
    }

    /// The next report goes to who may know nothing.
    pub const fn say_all(&mut self) {
        self.all = true;
    }

    /// Edges that are counted together, as of the last report.
    #[must_use]
    pub const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Edges with a row of their own.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.placed.len()
    }

    /// Adds up the rows that there is no place for, one sum for each end and transport. An edge that
    /// has a place keeps it.
    fn cap(&mut self, rows: Vec<(Edge, Traffic)>) -> Vec<(Edge, Traffic)> {
        let mut kept = Vec::with_capacity(rows.len().min(self.most));
        let mut others: Vec<(Edge, Traffic)> = Vec::new();
        self.omitted = 0;
        for (edge, traffic) in rows {
            let has_place = self.placed.contains(&edge);
            // One that is called like those that are counted together is counted with them.
            let is_new = !has_place && !self.crowd.contains(&edge) && edge != other(&edge);
            let bytes = if has_place { 0 } else { size(&edge) };
            let fits = self.placed.len() < self.most && self.bytes + bytes <= MAX_BYTES;
            if has_place || (is_new && fits) {
                if !has_place {
                    self.placed.insert(edge.clone());
                    self.bytes += bytes;
                }
                kept.push((edge, traffic));
                continue;
            }
            let other = other(&edge);
            if edge != other {
                self.omitted += 1;
                if is_new {
                    self.crowd.insert(edge);
                }
            }
            match others.iter_mut().find(|(edge, _)| *edge == other) {
                Some((_, sum)) => add(sum, &traffic),
                None => others.push((other, traffic)),
            }
        }
        kept.append(&mut others);
        kept
    }
}

/// Bytes of a row, at the most.
fn size(edge: &Edge) -> usize {
    edge.encoded_len() + TRAFFIC
}

fn other(edge: &Edge) -> Edge {
    Edge {
        reporter: edge.reporter,
        transport: edge.transport,
        source_workload: Source::Other.to_string(),
        source_node: edge.source_node.clone(),
        ..Edge::default()
    }
}

fn add(sum: &mut Traffic, more: &Traffic) {
    for (sum, more) in [
        (&mut sum.attempts, more.attempts),
        (&mut sum.opened, more.opened),
        (&mut sum.closed, more.closed),
        (&mut sum.failed, more.failed),
        (&mut sum.bytes_sent, more.bytes_sent),
        (&mut sum.bytes_received, more.bytes_received),
        (&mut sum.retransmits, more.retransmits),
        (&mut sum.rtt_us, more.rtt_us),
        (&mut sum.duration_us, more.duration_us),
        (&mut sum.refused, more.refused),
        (&mut sum.passed, more.passed),
    ] {
        *sum = sum.wrapping_add(more);
    }
    add_causes(&mut sum.failures, &more.failures);
    add_causes(&mut sum.refusals, &more.refusals);
}

fn add_causes(sum: &mut Vec<Cause>, more: &[Cause]) {
    for Cause { name, count } in more {
        match sum.iter_mut().find(|cause| cause.name == *name) {
            Some(cause) => cause.count = cause.count.wrapping_add(*count),
            None => sum.push(Cause { name: name.clone(), count: *count }),
        }
    }
}
