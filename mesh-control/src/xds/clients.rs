//! What is known of every Envoy and gRPC client. Apart from the nodes: whether a revision is live is
//! a question to the kernels, which no client of these may hold up. Pure: `now` is passed in.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_xds::server::{Progress, Rejection, TypeProgress};

use super::kind::ClientKind;

/// Most clients remembered that are not connected.
const MAX_AWAY: usize = 1024;

/// What is known of one stream of a client. A program has one for each target, all with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientState {
    /// What it is.
    pub kind: ClientKind,
    /// What it calls itself.
    pub id: String,
    /// Version of its program, if it said.
    pub version: String,
    /// Whether the stream is open.
    pub connected: bool,
    /// When the stream was opened, or ended.
    pub since: Instant,
    /// How far it has got, by type URL.
    pub types: BTreeMap<String, TypeProgress>,
    /// What it refuses now.
    pub rejections: Vec<Rejection>,
}

/// All of them, by stream.
#[derive(Debug, Default)]
pub struct ClientTable {
    streams: BTreeMap<u64, ClientState>,
}

impl ClientTable {
    /// Takes over what a stream says of its client.
    pub fn observe(&mut self, stream: u64, kind: ClientKind, progress: &Progress, now: Instant) {
        let Some(info) = &progress.node else { return };
        let state = self.streams.entry(stream).or_insert_with(|| ClientState {
            kind,
            id: info.id.clone(),
            version: info.version.clone(),
            connected: true,
            since: now,
            types: BTreeMap::new(),
            rejections: Vec::new(),
        });
        let fresh = state.types.is_empty();
        if state.types != progress.types {
            state.types.clone_from(&progress.types);
        }
        if state.rejections != progress.rejections {
            state.rejections.clone_from(&progress.rejections);
        }
        if fresh {
            // It is back.
            self.streams.retain(|_, it| it.connected || (it.kind, &it.id) != (kind, &info.id));
        }
    }

    /// A stream has ended. Programs come and go; a proxy that is away is worth knowing of.
    pub fn ended(&mut self, stream: u64, now: Instant) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        (state.connected, state.since) = (false, now);
        let (kind, id) = (state.kind, state.id.clone());
        let others = self.streams.iter().filter(|(at, _)| **at != stream);
        let elsewhere = others.clone().any(|(_, it)| it.kind == kind && it.id == id);
        if kind == ClientKind::Grpc || elsewhere {
            self.streams.remove(&stream);
        }
        let away = self.streams.iter().filter(|(_, it)| !it.connected);
        if away.clone().count() > MAX_AWAY
            && let Some(oldest) = away.min_by_key(|(_, it)| it.since).map(|(at, _)| *at)
        {
            self.streams.remove(&oldest);
        }
    }

    /// All, in order of their kinds and ids.
    #[must_use]
    pub fn clients(&self) -> Vec<&ClientState> {
        let mut clients: Vec<&ClientState> = self.streams.values().collect();
        clients.sort_by_key(|it| (it.kind, it.id.as_str()));
        clients
    }

    /// How many streams of a kind are open.
    #[must_use]
    pub fn connected(&self, kind: ClientKind) -> usize {
        self.streams.values().filter(|it| it.connected && it.kind == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use mesh_xds::server::NodeInfo;

    use super::*;

    fn progress(id: &str) -> Progress {
        let info = NodeInfo { id: id.to_owned(), version: "1".to_owned() };
        let types = [("t".to_owned(), TypeProgress { sent: Some(1), acked: None })].into();
        Progress { node: Some(info), types, ..Progress::default() }
    }

    fn shown(table: &ClientTable) -> Vec<(&'static str, &str, bool)> {
        let clients = table.clients().into_iter();
        clients.map(|it| (it.kind.as_str(), it.id.as_str(), it.connected)).collect()
    }

    #[test]
    fn a_proxy_that_is_away_is_shown_until_it_is_back_and_a_program_is_not() {
        let (mut table, now) = (ClientTable::default(), Instant::now());
        table.observe(1, ClientKind::Grpc, &progress("app"), now);
        table.observe(2, ClientKind::Grpc, &progress("app"), now);
        table.observe(3, ClientKind::Envoy, &progress("proxy"), now);
        let all = [("envoy", "proxy", true), ("grpc", "app", true), ("grpc", "app", true)];
        assert_eq!(shown(&table), all);
        assert_eq!(table.connected(ClientKind::Grpc), 2);
        table.ended(1, now);
        table.ended(3, now);
        assert_eq!(shown(&table), [("envoy", "proxy", false), ("grpc", "app", true)]);
        table.observe(4, ClientKind::Envoy, &progress("proxy"), now);
        assert_eq!(shown(&table), [("envoy", "proxy", true), ("grpc", "app", true)]);
    }

    #[test]
    fn a_stream_that_ends_after_its_successor_began_leaves_no_trace() {
        let (mut table, now) = (ClientTable::default(), Instant::now());
        table.observe(1, ClientKind::Envoy, &progress("proxy"), now);
        table.observe(2, ClientKind::Envoy, &progress("proxy"), now);
        table.ended(1, now);
        assert_eq!(shown(&table), [("envoy", "proxy", true)]);
    }

    #[test]
    fn those_that_are_away_are_forgotten_in_the_end() {
        let (mut table, now) = (ClientTable::default(), Instant::now());
        for stream in 0..1100 {
            let progress = progress(&stream.to_string());
            table.observe(stream, ClientKind::Envoy, &progress, now);
            table.ended(stream, now + std::time::Duration::from_millis(stream));
        }
        assert_eq!(table.clients().len(), MAX_AWAY);
        assert!(table.clients().iter().all(|it| it.id != "0"));
    }
}
