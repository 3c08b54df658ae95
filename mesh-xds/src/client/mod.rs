//! The client's end of delta ADS: what is known, what is subscribed to, and how responses are
//! answered. One machine lives as long as the agent; streams come and go below it.
//!
//! ```text
//!              connect()                 on_response()            ack() / nack()
//!   no stream ───────────► first requests ───────────► Push held by ───────────► answer
//!       ▲                  (known versions)            the caller                (known updated)
//!       └───────────────── stream lost: drop every unanswered Push ◄────────────────┘
//! ```
//!
//! What is known changes only when the caller answers. A `Push` that was not answered before
//! its stream ended must be thrown away unapplied: the next stream starts from what is known,
//! and the server sends the difference again.

mod envelope;
mod types;

pub use types::{Malformed, Push, Received, Rejected};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    WILDCARD,
    ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, UserAgentVersionType},
    detail,
    server::NodeInfo,
};

#[cfg(test)]
mod tests;

/// What a type's subscription covers and holds.
#[derive(Clone, Debug, Default)]
struct TypeState {
    /// Subscribed names; may contain [`WILDCARD`].
    subscribed: BTreeSet<String>,
    /// Version of every accepted resource.
    known: BTreeMap<String, String>,
}

impl TypeState {
    fn covers(&self, name: &str) -> bool {
        self.subscribed.contains(WILDCARD) || self.subscribed.contains(name)
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct DeltaClient {
    node: NodeInfo,
    /// In the caller's order, which is the order of the first requests.
    types: Vec<(&'static str, TypeState)>,
    /// Counts [`Self::connect`].
    stream: u64,
    /// Whether a request of this stream has carried the node.
    node_sent: bool,
}

impl DeltaClient {
    /// A client that subscribes to everything of these types. The order is that of the first
    /// requests; the type whose arrival completes a push comes last.
    #[must_use]
    pub fn new(node: NodeInfo, types: &[&'static str]) -> Self {
        let wildcard =
            TypeState { subscribed: BTreeSet::from([WILDCARD.to_owned()]), known: BTreeMap::new() };
        Self {
            node,
            types: types.iter().map(|url| (*url, wildcard.clone())).collect(),
            stream: 0,
            node_sent: false,
        }
    }

    /// Resources accepted in an earlier life, from the last-good copy on disk. Types that are
    /// not subscribed to are skipped. Call before [`Self::connect`].
    pub fn restore<T, N, V>(&mut self, known: impl IntoIterator<Item = (T, N, V)>)
    where
        T: AsRef<str>,
        N: Into<String>,
        V: Into<String>,
    {
        for (type_url, name, version) in known {
            if let Some(state) = self.state_mut(type_url.as_ref()) {
                state.known.insert(name.into(), version.into());
            }
        }
    }

    /// Everything accepted, as `(type_url, name, version)`.
    pub fn known(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.types.iter().flat_map(|(type_url, state)| {
            state
                .known
                .iter()
                .map(move |(name, version)| (*type_url, name.as_str(), version.as_str()))
        })
    }

    /// The first requests of a new stream; send all, in this order. Every unanswered [`Push`]
    /// of an earlier stream is void from here on.
    ///
    /// xDS protocol, "Incremental xDS", and the documentation of `initial_resource_versions`:
    /// the first message of each type says what the client already possesses. The node goes
    /// into the first message of the stream only ("Basic Protocol Overview").
    pub fn connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.stream += 1;
        let mut node = Some(self.node());
        let requests: Vec<DeltaDiscoveryRequest> = self
            .types
            .iter()
            // An empty list in a first request would mean the wildcard.
            .filter(|(_, state)| !state.subscribed.is_empty())
            .map(|(type_url, state)| DeltaDiscoveryRequest {
                node: node.take(),
                type_url: (*type_url).to_owned(),
                resource_names_subscribe: state.subscribed.iter().cloned().collect(),
                initial_resource_versions: initial_versions(&state.known),
                ..DeltaDiscoveryRequest::default()
            })
            .collect();
        self.node_sent = !requests.is_empty();
        requests
    }

    /// Subscribe to more names of a type given to [`Self::new`]; `None` for another type or no
    /// names. The request is for a stream that [`Self::connect`] has begun.
    pub fn subscribe(&mut self, type_url: &str, names: &[&str]) -> Option<DeltaDiscoveryRequest> {
        let names = non_empty(names)?;
        let state = self.state_mut(type_url)?;
        state.subscribed.extend(names.iter().cloned());
        // With nothing subscribed, `connect` had nothing to carry the node.
        let node = (!self.node_sent).then(|| self.node());
        self.node_sent = true;
        Some(DeltaDiscoveryRequest {
            node,
            type_url: type_url.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Give names up, and forget the resources that are no longer covered; `None` for a type
    /// not given to [`Self::new`] or no names.
    ///
    /// xDS protocol, "Unsubscribing from Resources".
    pub fn unsubscribe(&mut self, type_url: &str, names: &[&str]) -> Option<DeltaDiscoveryRequest> {
        let names = non_empty(names)?;
        let state = self.state_mut(type_url)?;
        for name in &names {
            state.subscribed.remove(name);
        }
        if !state.subscribed.contains(WILDCARD) {
            let subscribed = &state.subscribed;
            state.known.retain(|name, _| subscribed.contains(name));
        }
        let node = (!self.node_sent).then(|| self.node());
        self.node_sent = true;
        Some(DeltaDiscoveryRequest {
            node,
            type_url: type_url.to_owned(),
            resource_names_unsubscribe: names,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Check a response's envelope. A resource whose envelope is broken is left out and named
    /// in [`Push::malformed`]; a response that is broken as a whole is an error.
    ///
    /// Nothing is recorded, so a response delivered twice yields the same push twice and its
    /// second answer changes nothing.
    pub fn on_response(&self, response: DeltaDiscoveryResponse) -> Result<Push, Rejected> {
        let subscribed = self.types.iter().map(|(type_url, _)| *type_url);
        match envelope::check(&response, subscribed) {
            Ok(revision) => Ok(envelope::open(response, revision, self.stream)),
            Err(reason) => {
                let rejected = [(String::new(), reason.to_string())];
                let request = DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    error_detail: Some(detail::encode(&rejected)),
                    ..DeltaDiscoveryRequest::default()
                };
                Err(Rejected { request: Box::new(request), reason })
            }
        }
    }

    /// The push has been applied: record its resources and answer. If some were malformed the
    /// answer is a NACK that names them.
    #[must_use]
    pub fn ack(&mut self, push: &Push) -> DeltaDiscoveryRequest {
        self.record(push, &[]);
        self.answer(push, &push.malformed)
    }

    /// The push has been applied except for the resources named here with a reason: record the
    /// others and answer with a NACK. Names that are not in the push only lend their reason.
    ///
    /// xDS protocol, "ACK and NACK semantics summary": a NACK is the presence of
    /// `error_detail`. What was accepted of a rejected resource earlier stays known.
    #[must_use]
    pub fn nack(&mut self, push: &Push, rejected: &[(String, String)]) -> DeltaDiscoveryRequest {
        self.record(push, rejected);
        let all: Vec<(String, String)> = rejected.iter().chain(&push.malformed).cloned().collect();
        let mut answer = self.answer(push, &all);
        if all.is_empty() && !answer.response_nonce.is_empty() {
            answer.error_detail = Some(detail::encode(&all));
        }
        answer
    }

    fn record(&mut self, push: &Push, rejected: &[(String, String)]) {
        if push.stream != self.stream {
            return;
        }
        let Some(state) = self.state_mut(&push.type_url) else {
            return;
        };
        let refused: BTreeSet<&str> = rejected.iter().map(|(name, _)| name.as_str()).collect();
        for resource in &push.added {
            // xDS protocol, "How the client specifies what resources to return": resources
            // that were not requested, or no longer are, are silently ignored.
            if state.covers(&resource.name) && !refused.contains(resource.name.as_str()) {
                let (name, version) = (resource.name.clone(), resource.version.clone());
                state.known.insert(name, version);
            }
        }
        for name in &push.removed {
            if !refused.contains(name.as_str()) {
                state.known.remove(name);
            }
        }
    }

    /// An answer to the current stream, or a request without any meaning if the push came from
    /// an earlier one (xDS protocol, "Basic Protocol Overview": nonces do not survive streams).
    fn answer(&mut self, push: &Push, rejected: &[(String, String)]) -> DeltaDiscoveryRequest {
        let mut request =
            DeltaDiscoveryRequest { type_url: push.type_url.clone(), ..Default::default() };
        if push.stream == self.stream {
            request.response_nonce.clone_from(&push.nonce);
            if !rejected.is_empty() {
                request.error_detail = Some(detail::encode(rejected));
            }
            return request;
        }
        // It may still be the first request of the stream, which carries the node, or the first
        // of its type, which would subscribe to everything if it were empty.
        if !self.node_sent {
            request.node = Some(self.node());
            self.node_sent = true;
        }
        if !self.wildcard(&push.type_url) {
            request.resource_names_unsubscribe = vec![WILDCARD.to_owned()];
        }
        request
    }

    fn wildcard(&self, type_url: &str) -> bool {
        self.types
            .iter()
            .any(|(url, state)| *url == type_url && state.subscribed.contains(WILDCARD))
    }

    fn node(&self) -> Node {
        let version = self.node.version.clone();
        Node {
            id: self.node.id.clone(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(version)),
            ..Node::default()
        }
    }

    fn state_mut(&mut self, type_url: &str) -> Option<&mut TypeState> {
        self.types.iter_mut().find(|(url, _)| *url == type_url).map(|(_, state)| state)
    }
}

fn initial_versions(known: &BTreeMap<String, String>) -> HashMap<String, String> {
    known.iter().map(|(name, version)| (name.clone(), version.clone())).collect()
}

fn non_empty(names: &[&str]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect())
}
