//! Takes the reports of nodes in. A report holds totals, so the collector remembers the last ones
//! of each edge and works out what has been counted since: a report that comes twice, late or
//! never counts nothing twice and loses nothing.
//!
//! The first full report of a node is where the collector begins: it counts into the totals, not
//! into what has grown, because nobody knows when it was counted.
//!
//! What a node counts on another edge from some report on has not grown there: `moves` sees to it.

pub mod moves;
mod node;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::edge::Edge;
use moves::Move;
use node::Node;

/// A node that has not reported for so long is forgotten; and so is an edge that its node no
/// longer reports.
pub const FORGOTTEN: Duration = Duration::from_hours(1);

/// Stands for a node, until it is forgotten; never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Stands for an edge that a node reports, until it is forgotten; never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub u64);

/// What a node reports.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub node: String,
    /// Of this life of its agent.
    pub run: String,
    /// Counts the reports of a run.
    pub sequence: u64,
    /// Whether `edges` are all.
    pub full: bool,
    /// Totals, each edge once.
    pub edges: Vec<(Edge, Counts)>,
    /// Edges that the node has no room for.
    pub omitted: u64,
    /// Until the next report.
    pub interval: Duration,
    /// What is counted on another edge from now on, in order and without a gap.
    pub moves: Vec<Move>,
    /// Number of the last one; of all nodes' books, the first is 1.
    pub last_move: u64,
    /// Edges that share a total may not be those that did before.
    pub anew: bool,
}

/// What has been counted on an edge since the report before.
#[derive(Clone, Debug)]
pub struct Change {
    /// The edge, of this node.
    pub id: EdgeId,
    /// The edge.
    pub edge: Arc<Edge>,
    /// Never zero.
    pub growth: Counts,
}

/// What has become of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The one after the one before.
    Taken,
    /// The one before is missing.
    Gap,
    /// It, or a later one, has been taken before.
    Repeated,
}

/// What a report has brought.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Who reported.
    pub node: NodeId,
    /// What has become of it.
    pub outcome: Outcome,
    /// What has grown.
    pub changes: Vec<Change>,
    /// The next report must be full.
    pub send_all: bool,
    /// Edges whose totals fell.
    pub resets: usize,
}

/// Limits of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes.
    pub nodes: usize,
    /// Memory for edges of all nodes, in bytes.
    pub edge_bytes: usize,
}

/// There are too many nodes.
#[derive(Debug, thiserror::Error)]
#[error("traffic of {0} nodes is kept at most: run another control plane for the others")]
pub struct TooManyNodes(usize);

/// The nodes that report.
#[derive(Debug)]
pub struct Collector {
    limits: Limits,
    nodes: HashMap<String, Node>,
    edges: Edges,
    next_node: u64,
}

/// What all nodes share: memory and numbers for edges.
#[derive(Debug, Default)]
struct Edges {
    limit: usize,
    bytes: usize,
    count: usize,
    next: u64,
}

/// How nodes are doing at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    /// Those whose reports are in time, ascending.
    pub known: Vec<NodeId>,
    /// Those whose reports are late, ascending.
    pub late: Vec<NodeId>,
}

/// How a node's reports come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporting<'a> {
    /// Its name.
    pub node: &'a str,
    /// The run of its agent.
    pub run: &'a str,
    /// Since the last report.
    pub age: Duration,
    /// The next should have been here.
    pub late: bool,
    /// Edges that there was no room for, here or at the node.
    pub omitted: u64,
}

impl Collector {
    /// No node yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            nodes: HashMap::new(),
            edges: Edges { limit: limits.edge_bytes, ..Edges::default() },
            next_node: 1,
        }
    }

    /// Takes a report in.
    pub fn take(&mut self, report: Report, now: Instant) -> Result<Taken, TooManyNodes> {
        let Report {
            node: name,
            run,
            sequence,
            full,
            edges,
            omitted,
            interval,
            moves,
            last_move,
            anew,
        } = report;
        if !self.nodes.contains_key(&name) {
            if self.nodes.len() >= self.limits.nodes {
                return Err(TooManyNodes(self.limits.nodes));
            }
            let id = NodeId(self.next_node);
            self.next_node += 1;
            self.nodes.insert(name.clone(), Node::new(id, now));
        }
        let Some(node) = self.nodes.get_mut(&name) else {
            return Err(TooManyNodes(self.limits.nodes));
        };
        let outcome = node.hear(run, sequence, full, now);
        let mut taken =
            Taken { node: node.id(), outcome, changes: Vec::new(), send_all: false, resets: 0 };
        if outcome != Outcome::Repeated {
            node.settle(interval, omitted);
            let shifts = node.shifts(moves, last_move);
            node.count((edges, shifts), full, anew, &mut self.edges, &mut taken, now);
        }
        taken.send_all = node.wants_all() || node.asks_again(&self.edges, now);
        Ok(taken)
    }

    /// Forgets nodes that have been away for long, and edges that are gone for long.
    pub fn forget(&mut self, now: Instant) {
        let edges = &mut self.edges;
        self.nodes.retain(|_, node| {
            let stays = node.away(now) < FORGOTTEN;
            node.forget(edges, |gone| {
                !stays || gone.is_some_and(|at| now.saturating_duration_since(at) >= FORGOTTEN)
            });
            stays
        });
    }

    /// All edges that nodes report now, with their totals.
    pub fn totals(&self) -> impl Iterator<Item = (NodeId, &Edge, &Counts)> {
        self.nodes.values().flat_map(Node::totals)
    }

    /// Of whom it is known at `now` what they have counted. Of those who have never reported all,
    /// this cannot be said.
    #[must_use]
    pub fn attendance(&self, now: Instant) -> Attendance {
        let mut attendance = Attendance::default();
        for node in self.nodes.values().filter(|node| node.is_complete()) {
            let late = node.is_late(now);
            let list = if late { &mut attendance.late } else { &mut attendance.known };
            list.push(node.id());
        }
        attendance.known.sort_unstable();
        attendance.late.sort_unstable();
        attendance
    }

    /// The nodes that report, by name.
    pub fn reporters(&self, now: Instant) -> impl Iterator<Item = Reporting<'_>> {
        self.nodes.iter().map(move |(name, node)| node.reporting(name, now))
    }

    /// Names of nodes whose reports are late, in order.
    #[must_use]
    pub fn late(&self, now: Instant) -> Vec<String> {
        let late = self.nodes.iter().filter(|(_, node)| node.is_late(now));
        let mut names: Vec<String> = late.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Edges that there was no room for, here or at the nodes.
    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.nodes.values().map(Node::omitted).fold(0, u64::saturating_add)
    }

    /// Nodes, and edges of all of them.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.edges.count)
    }

    /// Memory that edges take, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.edges.bytes
    }
}
