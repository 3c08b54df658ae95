//! Which rows the control plane does not know yet. Pure: rows and answers come in, reports go out.
//!
//! Every value is a total, so a report may be lost, be taken without the answer arriving, or come
//! twice: the next one says again all that is not known to have arrived. Each has a number of its
//! own; a control plane that misses one asks for all.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire::{
    Cause, Edge, EdgeTraffic, ReportTrafficRequest, ReportTrafficResponse, Traffic,
};

use crate::edges::Source;

/// Most edges of a node with a row of their own. With the longest names a report of them is below
/// 16 MiB, and usually some 2 MiB before it is compressed.
pub const MAX_EDGES: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub struct Changes {
    node: String,
    run: String,
    most: usize,
    sequence: u64,
    /// What the control plane is known to know.
    told: HashMap<Edge, Traffic>,
    /// Edges that have a row of their own; never given back, so that no total falls.
    placed: HashSet<Edge>,
    /// What the report under way says.
    pending: Vec<(Edge, Traffic)>,
    /// Whether the next report says everything.
    all: bool,
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
            pending: Vec::new(),
            all: true,
            omitted: 0,
        }
    }

    /// The next report, given what is counted now. `interval`: until the one after.
    pub fn next(&mut self, rows: Vec<(Edge, Traffic)>, interval: Duration) -> ReportTrafficRequest {
        self.sequence += 1;
        if self.all {
            self.told.clear();
        }
        let rows = self.cap(rows);
        let is_news = |(edge, traffic): &(Edge, Traffic)| self.told.get(edge) != Some(traffic);
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
        }
    }

    /// The control plane has answered the last report. Returns whether it wants all at once.
    pub fn answered(&mut self, answer: ReportTrafficResponse) -> bool {
        self.told.extend(self.pending.drain(..));
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
            if has_place || self.placed.len() < self.most {
                if !has_place {
                    self.placed.insert(edge.clone());
                }
                kept.push((edge, traffic));
                continue;
            }
            self.omitted += 1;
            let other = other(&edge);
            match others.iter_mut().find(|(edge, _)| *edge == other) {
                Some((_, sum)) => add(sum, &traffic),
                None => others.push((other, traffic)),
            }
        }
        kept.append(&mut others);
        kept
    }
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
    for Cause { name, count } in &more.failures {
        match sum.failures.iter_mut().find(|cause| cause.name == *name) {
            Some(cause) => cause.count = cause.count.wrapping_add(*count),
            None => sum.failures.push(Cause { name: name.clone(), count: *count }),
        }
    }
}
