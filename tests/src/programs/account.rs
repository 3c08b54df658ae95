//! The mesh's own account of what a program has done: connections and bytes as the metrics tell
//! them, and what the pairs say about the way that the data took.

use std::collections::HashSet;

use mesh_common::accel::{Pair, PairId, Path};
use serde_json::{Value, json};

use crate::maps;
use crate::node::Node;

/// Reasons that tell of sockets that could not be accelerated.
const KEPT_OUT: [&str; 2] = ["socket_taken", "sockets_full"];

/// What the metrics say about a service, or how much more they say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Account {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) failed: u64,
    /// From clients to the server.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Of the whole node: sockets that could not be accelerated.
    pub(super) kept_out: u64,
}

impl Account {
    pub(super) fn of(node: &Node, service: &str) -> anyhow::Result<Self> {
        let metrics = node.metrics()?;
        let labels = [("destination_service_name", service)];
        let sum = |name: &str| count(metrics.sum(name, &labels));
        let kept_out = |reason| count(metrics.sum("mesh_bpf_exits_total", &[("reason", reason)]));
        Ok(Self {
            opened: sum("istio_tcp_connections_opened_total"),
            closed: sum("istio_tcp_connections_closed_total"),
            failed: sum("istio_tcp_connections_failed_total"),
            // Istio's names are the server's.
            sent: sum("istio_tcp_received_bytes_total"),
            received: sum("istio_tcp_sent_bytes_total"),
            kept_out: KEPT_OUT.iter().map(|reason| kept_out(reason)).sum(),
        })
    }

    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            closed: self.closed - before.closed,
            failed: self.failed - before.failed,
            sent: self.sent - before.sent,
            received: self.received - before.received,
            kept_out: self.kept_out - before.kept_out,
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "connections": self.opened,
            "failed": self.failed,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
        })
    }
}

/// A metric that counts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts below 2^53")]
const fn count(value: f64) -> u64 {
    value as u64
}

/// What the pairs say. A place is given to other connections once its own has ended, so of many
/// short ones only the last are found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Redirected {
    /// Connections with redirected data.
    pub(super) connections: u64,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    /// Directions that began redirected and went over to TCP.
    pub(super) left: u64,
}

impl Redirected {
    /// Those that are not among the earlier ones.
    pub(super) fn since(node: &Node, before: &HashSet<PairId>) -> anyhow::Result<Self> {
        let mut sums = Self::default();
        for pair in maps::pairs(node)?.iter().filter(|pair| !before.contains(&pair.id)) {
            sums.add(pair);
        }
        Ok(sums)
    }

    fn add(&mut self, pair: &Pair) {
        let bytes = pair.sent.bytes + pair.received.bytes;
        self.connections += u64::from(bytes > 0);
        self.bytes += bytes;
        self.messages += u64::from(pair.sent.messages) + u64::from(pair.received.messages);
        for path in [pair.sent_path, pair.received_path] {
            self.left += u64::from(path == Path::LEFT);
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "connections": self.connections,
            "bytes": self.bytes,
            "messages": self.messages,
            "directions_that_went_over_to_tcp": self.left,
        })
    }
}

/// Who is in the pairs now.
pub(super) fn known(node: &Node) -> anyhow::Result<HashSet<PairId>> {
    Ok(maps::pairs(node)?.iter().map(|pair| pair.id).collect())
}
