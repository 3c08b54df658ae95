//! What the page is told, as it reads it.

use serde::Serialize;

pub(super) use crate::api::telemetry::json::Row as Edge;

/// What is not about one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Unix time, milliseconds.
    pub(super) time_ms: u64,
    /// Version of the control plane.
    pub(super) version: &'static str,
    /// The newest revision: what nodes should serve.
    pub(super) revision: u64,
    pub(super) endpoints: usize,
    pub(super) service_configs: usize,
    /// Time that rates are over.
    pub(super) window_ms: u64,
    /// Nodes whose reports are late: what they count is missing.
    pub(super) stale_nodes: Vec<String>,
    /// Edges that there was no room for.
    pub(super) series_omitted: u64,
    /// Why the edges are not what they should be; empty: they are.
    pub(super) trouble: String,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) vips: Vec<String>,
    pub(super) ports: Vec<Port>,
    pub(super) endpoints: usize,
    /// Endpoints that take no new connections.
    pub(super) draining: usize,
    /// Of the endpoints that are checked. All 0: none is.
    pub(super) healthy: usize,
    pub(super) unhealthy: usize,
    pub(super) unknown: usize,
    /// Over all nodes: breakers that are open or half open, and ejections.
    pub(super) breakers: usize,
    pub(super) ejections: usize,
    pub(super) versions: Vec<String>,
    /// What runs its endpoints, so that its own connections can be told to be its.
    pub(super) workloads: Vec<String>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) number: u16,
    /// Where endpoints listen.
    pub(super) target: u16,
    pub(super) protocol: &'static str,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// Version of the agent.
    pub(super) version: String,
    /// In a word: `live`, `behind`, `rejects`, `away`, or `unknown`: it reports only.
    pub(super) state: &'static str,
    pub(super) connected: bool,
    /// Whole seconds since it connected or went away, as Unix time, so that it stays the same.
    pub(super) since_s: u64,
    /// The newest revision that was sent to it.
    pub(super) sent: u64,
    /// The newest that its kernel serves; 0: none.
    pub(super) live: u64,
    /// When it said so, Unix time in seconds.
    pub(super) live_at_s: u64,
    pub(super) rejections: Vec<Rejection>,
    /// How it reports what it counts; absent: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<Report>,
}

/// A revision that a node does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rejection {
    pub(super) revision: u64,
    pub(super) message: String,
}

/// How a node reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// The run of the agent.
    pub(super) run: String,
    /// Whole seconds since the last one.
    pub(super) age_s: u64,
    pub(super) late: bool,
    /// Edges that there was no room for.
    pub(super) omitted: u64,
}
