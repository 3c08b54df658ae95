//! The nodes and the other clients, as the API shows them.

use std::time::Instant;

use mesh_api::convert::milliseconds;
use mesh_api::wire;
use mesh_xds::server::{Holding, Rejection};
use mesh_xds::types::PUSH_ORDER;

use crate::xds::{ClientKind, ClientState, NodeState, Nodes, SyncState, TypeState};

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

/// Clients that are no nodes.
pub(super) fn clients(nodes: &Nodes, now: Instant) -> Vec<wire::ClientStatus> {
    let table = nodes.clients();
    table.clients().into_iter().map(|state| client(state, now)).collect()
}

fn client(state: &ClientState, now: Instant) -> wire::ClientStatus {
    let others = state.types.keys().map(String::as_str);
    let others = others.filter(|type_url| !PUSH_ORDER.contains(type_url));
    let types = PUSH_ORDER.into_iter().chain(others);
    wire::ClientStatus {
        kind: match state.kind {
            ClientKind::Agent => wire::ClientKind::Unspecified,
            ClientKind::Envoy => wire::ClientKind::Envoy,
            ClientKind::Grpc => wire::ClientKind::Grpc,
        }
        .into(),
        id: state.id.clone(),
        node: state.node.clone(),
        version: state.version.clone(),
        connected: state.connected,
        since_ms: milliseconds(now.saturating_duration_since(state.since)),
        types: types.map(|type_url| type_status(state, type_url, now)).collect(),
        refused: state.rejections.iter().map(refused).collect(),
    }
}

fn type_status(state: &ClientState, type_url: &str, now: Instant) -> wire::TypeStatus {
    let held = state.held.get(type_url).map_or(0, Holding::count);
    let Some(TypeState { state: sync, since, progress }) = state.types.get(type_url).copied()
    else {
        let state = wire::SyncState::NotSent.into();
        let type_url = type_url.to_owned();
        return wire::TypeStatus { type_url, state, ..wire::TypeStatus::default() };
    };
    wire::TypeStatus {
        type_url: type_url.to_owned(),
        state: match sync {
            SyncState::NotSent => wire::SyncState::NotSent,
            SyncState::Stale => wire::SyncState::Stale,
            SyncState::Synced => wire::SyncState::Synced,
            SyncState::Rejected => wire::SyncState::Rejected,
        }
        .into(),
        since_ms: milliseconds(now.saturating_duration_since(since)),
        sent_revision: progress.sent.unwrap_or_default(),
        acked_revision: progress.acked.unwrap_or_default(),
        resources: u64::try_from(held).unwrap_or(u64::MAX),
    }
}

fn refused(rejection: &Rejection) -> wire::RefusedResource {
    let Rejection { revision, type_url, name, message } = rejection.clone();
    wire::RefusedResource { type_url, name, revision, message }
}
