//! The nodes, as the API shows them.

use std::time::Instant;

use mesh_api::wire;

use crate::xds::{NodeState, Nodes};
use mesh_api::convert::milliseconds;

pub(super) fn nodes(nodes: &Nodes, now: Instant) -> Vec<wire::NodeStatus> {
    let table = nodes.lock();
    let nodes = table.nodes();
    nodes.map(|(name, state)| node(name, state, now)).collect()
}

fn node(name: &str, state: &NodeState, now: Instant) -> wire::NodeStatus {
    let age = |since: Instant| milliseconds(now.saturating_duration_since(since));
    let rejection = |(revision, message): &(u64, String)| wire::Rejection {
        revision: *revision,
        message: message.clone(),
    };
    wire::NodeStatus {
        node: name.to_owned(),
        version: state.version.clone(),
        connected: state.connected,
        live_revision: state.live.map_or(0, |(revision, _)| revision),
        live_age_ms: state.live.map_or(0, |(_, at)| age(at)),
        sent_revision: state.sent,
        rejections: state.rejections.iter().map(rejection).collect(),
        since_ms: age(state.since),
    }
}
