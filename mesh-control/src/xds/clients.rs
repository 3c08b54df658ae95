//! What is known of every Envoy and gRPC client. Apart from the nodes: whether a revision is live is
//! a question to the kernels, which no client of these may hold up. Pure: `now` is passed in.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_xds::server::{Holding, Progress, Rejection, TypeProgress};

use super::kind::ClientKind;

/// Most clients remembered that are not connected.
const MAX_AWAY: usize = 1024;

/// How far a client has got with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncState {
    /// It was sent nothing.
    NotSent,
    /// It has not answered the newest response.
    Stale,
    /// It has acknowledged everything.
    Synced,
    /// It refuses something, and goes on with the form before.
    Rejected,
}

/// What is known of a type with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeState {
    /// In a word.
    pub state: SyncState,
    /// Since when the state is so; where it acknowledges one after the other, when it last did.
    pub since: Instant,
    /// What it was sent and what it has acknowledged.
    pub progress: TypeProgress,
}

impl TypeState {
    fn new(progress: TypeProgress, refuses: bool, before: Option<&Self>, now: Instant) -> Self {
        let state = match progress {
            _ if refuses => SyncState::Rejected,
            TypeProgress { sent: None, .. } => SyncState::NotSent,
            TypeProgress { sent, acked } if sent == acked => SyncState::Synced,
            TypeProgress { .. } => SyncState::Stale,
        };
        let same = before.filter(|it| it.state == state && it.progress.acked == progress.acked);
        Self { state, since: same.map_or(now, |it| it.since), progress }
    }
}

/// What is known of one stream of a client. A program has one for each target, all with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientState {
    /// What it is.
    pub kind: ClientKind,
    /// What it calls itself.
    pub id: String,
    /// The node that it runs on, if it said.
    pub node: String,
    /// Version of its program, if it said.
    pub version: String,
    /// Whether the stream is open.
    pub connected: bool,
    /// When the stream was opened, or ended.
    pub since: Instant,
    /// How far it has got, by type URL.
    pub types: BTreeMap<String, TypeState>,
    /// What it refuses now.
    pub rejections: Vec<Rejection>,
    /// What it was sent and wants, by type URL; nothing of one that is away.
    pub held: BTreeMap<String, Holding>,
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
            node: progress.runs_on.clone(),
            version: info.version.clone(),
            connected: true,
            since: now,
            types: BTreeMap::new(),
            rejections: Vec::new(),
            held: BTreeMap::new(),
        });
        let fresh = state.types.is_empty();
        for (type_url, progress_of_type) in &progress.types {
            let refuses = progress.rejections.iter().any(|it| it.type_url == *type_url);
            let before = state.types.get(type_url);
            let next = TypeState::new(*progress_of_type, refuses, before, now);
            if before != Some(&next) {
                state.types.insert(type_url.clone(), next);
            }
        }
        if state.held != progress.held {
            state.held.clone_from(&progress.held);
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
        // A snapshot that nobody else has any more would stay for it.
        state.held.clear();
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
    fn each_type_has_a_state_and_says_since_when() {
        let (mut table, start) = (ClientTable::default(), Instant::now());
        let at = |seconds| start + std::time::Duration::from_secs(seconds);
        let mut say = |seconds, sent, acked, refuses: bool| {
            let types = [("t".to_owned(), TypeProgress { sent, acked })].into();
            let rejection = Rejection {
                revision: 1,
                type_url: "t".to_owned(),
                name: "web".to_owned(),
                message: "no".to_owned(),
            };
            let rejections = refuses.then_some(rejection).into_iter().collect();
            let progress = Progress { types, rejections, ..progress("proxy") };
            table.observe(1, ClientKind::Envoy, &progress, at(seconds));
            let clients = table.clients();
            let state = clients[0].types["t"];
            (state.state, state.since.duration_since(start).as_secs())
        };
        assert_eq!(say(1, None, None, false), (SyncState::NotSent, 1));
        assert_eq!(say(2, Some(1), None, false), (SyncState::Stale, 2));
        assert_eq!(say(3, Some(2), None, false), (SyncState::Stale, 2));
        assert_eq!(say(4, Some(2), Some(2), false), (SyncState::Synced, 4));
        assert_eq!(say(5, Some(2), Some(2), false), (SyncState::Synced, 4));
        assert_eq!(say(6, Some(3), Some(2), true), (SyncState::Rejected, 6));
        assert_eq!(say(7, Some(4), Some(2), true), (SyncState::Rejected, 6));
        assert_eq!(say(8, Some(4), Some(4), false), (SyncState::Synced, 8));
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
