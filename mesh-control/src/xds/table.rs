//! What is known of every node: connected or not, which revision it was sent, which it serves.
//! Pure: `now` is passed in.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use mesh_xds::server::Progress;

/// How many commits are remembered, to tell how long a node took to serve them.
const COMMITS: usize = 1024;
/// Most nodes remembered that are not connected.
const MAX_AWAY: usize = 1024;

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The stream that says so; a newer stream of the same node replaces it.
    pub stream: u64,
    /// Version of the agent.
    pub version: String,
    /// Whether the stream is open.
    pub connected: bool,
    /// When the stream was opened, or ended.
    pub since: Instant,
    /// Highest revision that the node serves, and when it said so; also from an earlier stream.
    pub live: Option<(u64, Instant)>,
    /// Highest revision sent on this stream.
    pub sent: u64,
    /// What the node rejects now: revision and reason.
    pub rejections: Vec<(u64, String)>,
}

/// All nodes by name.
#[derive(Debug, Default)]
pub struct NodeTable {
    nodes: BTreeMap<String, NodeState>,
    commits: VecDeque<(u64, Instant)>,
}

/// Whether a revision has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Some connected node has neither acknowledged nor rejected it, or no node is connected.
    Pending,
    /// Every connected node serves it, and there is one.
    Live,
    /// Every connected node has answered, and some have rejected it.
    Rejected,
}

impl NodeTable {
    /// Notes when a revision was stored.
    pub fn committed(&mut self, revision: u64, at: Instant) {
        if self.commits.len() == COMMITS {
            self.commits.pop_front();
        }
        self.commits.push_back((revision, at));
    }

    /// Takes over what a stream says of its node. Returns whether anything is new, and how long
    /// each commit took that the node serves since now.
    pub fn observe(
        &mut self,
        stream: u64,
        progress: &Progress,
        now: Instant,
    ) -> (bool, Vec<Duration>) {
        let Some(info) = &progress.node else {
            return (false, Vec::new());
        };
        let before = self.nodes.get(&info.id);
        if before.is_some_and(|before| before.stream > stream) {
            // The node has a newer stream: this one is a leftover.
            return (false, Vec::new());
        }
        let same = before.filter(|before| before.stream == stream);
        let live_before = before.and_then(|before| before.live);
        let live = match (progress.live_revision, live_before) {
            (Some(live), Some(before)) if before.0 == live => Some(before),
            (Some(live), _) => Some((live, now)),
            (None, before) => before,
        };
        let rejections = progress.rejections.iter();
        let rejections = rejections.map(|it| (it.revision, describe(&it.name, &it.message)));
        let state = NodeState {
            stream,
            version: info.version.clone(),
            connected: true,
            since: same.map_or(now, |same| same.since),
            live,
            sent: progress.sent_revision,
            rejections: rejections.collect(),
        };
        if before == Some(&state) {
            return (false, Vec::new());
        }
        // Only what was committed while this stream was open: the rest waited for the node.
        let since = same.and_then(|same| same.live).filter(|_| progress.live_revision.is_some());
        let took = since.map_or_else(Vec::new, |(from, _)| {
            let upto = live.map_or(0, |(live, _)| live);
            self.took(from, upto, state.since, now)
        });
        self.nodes.insert(info.id.clone(), state);
        (true, took)
    }

    fn took(&self, after: u64, upto: u64, since: Instant, now: Instant) -> Vec<Duration> {
        let newest_first = self.commits.iter().rev();
        newest_first
            .take_while(|(revision, _)| *revision > after)
            .filter(|(revision, at)| *revision <= upto && *at >= since)
            .map(|(_, at)| now.saturating_duration_since(*at))
            .collect()
    }

    /// A stream has ended. Returns whether it was the node's newest.
    pub fn ended(&mut self, stream: u64, node: &str, now: Instant) -> bool {
        let Some(state) = self.nodes.get_mut(node) else {
            return false;
        };
        if state.stream != stream {
            return false;
        }
        state.connected = false;
        state.since = now;
        self.forget_longest_away();
        true
    }

    fn forget_longest_away(&mut self) {
        let away = self.nodes.iter().filter(|(_, state)| !state.connected);
        if away.clone().count() <= MAX_AWAY {
            return;
        }
        let oldest = away.min_by_key(|(_, state)| state.since);
        if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
            self.nodes.remove(&oldest);
        }
    }

    /// All nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&String, &NodeState)> {
        self.nodes.iter()
    }

    /// What is known of a node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.get(name)
    }

    /// How many are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.nodes.values().filter(|state| state.connected).count()
    }

    /// Whether every connected node has answered for a revision, and there is one.
    #[must_use]
    pub fn settled(&self, revision: u64) -> Settled {
        // After a restart of the control plane the nodes are still to come: nobody serves it.
        if self.connected() == 0 {
            return Settled::Pending;
        }
        let mut settled = Settled::Live;
        for state in self.nodes.values().filter(|state| state.connected) {
            if state.live.is_some_and(|(live, _)| live >= revision) {
                continue;
            }
            if state.rejections.iter().any(|(at, _)| *at >= revision) {
                settled = Settled::Rejected;
            } else {
                return Settled::Pending;
            }
        }
        settled
    }
}

fn describe(resource: &str, message: &str) -> String {
    if resource.is_empty() { message.to_owned() } else { format!("{resource}: {message}") }
}
