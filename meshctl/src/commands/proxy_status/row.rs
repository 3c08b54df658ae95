//! One client and how far it has got.

use mesh_api::wire;
use serde::Serialize;

/// What an agent is given as a whole, with one answer for all types.
const WHOLE: &str = "MESH";

/// How far a client has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    /// It was sent nothing.
    NotSent,
    /// It has all that it was sent.
    Synced,
    /// It has not answered the newest yet.
    Stale,
    /// It refuses something.
    Rejected,
    /// It is not connected.
    Away,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "NOT SENT",
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
            Self::Away => "AWAY",
        }
    }
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// `agent`, `envoy` or `grpc`.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// Empty: it does not say.
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) connected: bool,
    /// Since the stream was opened, or ended.
    pub(crate) since_ms: u64,
    /// The worst of its types.
    pub(crate) state: State,
    /// For how long.
    pub(crate) state_ms: u64,
    pub(crate) types: Vec<Type>,
    pub(crate) refused: Vec<Refused>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Type {
    /// `CDS`, `EDS`, `LDS`, `RDS`; `MESH`: what an agent gets.
    #[serde(rename = "type")]
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) since_ms: u64,
    pub(crate) sent_revision: u64,
    pub(crate) acked_revision: u64,
    /// How many it was sent; absent where nobody counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refused {
    pub(crate) r#type: String,
    /// Empty: the client named none.
    pub(crate) name: String,
    pub(crate) revision: u64,
    /// In the client's words.
    pub(crate) message: String,
}

impl Row {
    /// Agents first, then in the order of the control plane.
    pub(crate) fn all(response: wire::StatusResponse) -> Vec<Self> {
        let newest = response.revision;
        let agents = response.nodes.into_iter().map(|node| Self::of_agent(node, newest));
        agents.chain(response.clients.into_iter().map(Self::of_client)).collect()
    }

    fn of_agent(node: wire::NodeStatus, newest: u64) -> Self {
        let state = if !node.rejections.is_empty() {
            State::Rejected
        } else if node.sent_revision == 0 && node.live_revision == 0 {
            State::NotSent
        } else if node.live_revision >= newest {
            State::Synced
        } else {
            State::Stale
        };
        let whole = Type {
            name: WHOLE.to_owned(),
            state,
            since_ms: node.live_age_ms,
            sent_revision: node.sent_revision,
            acked_revision: node.live_revision,
            resources: None,
        };
        let refused = |rejection: wire::Rejection| Refused {
            r#type: WHOLE.to_owned(),
            name: String::new(),
            revision: rejection.revision,
            message: rejection.message,
        };
        Self {
            kind: "agent",
            id: node.node.clone(),
            node: node.node,
            version: node.version,
            connected: node.connected,
            since_ms: node.since_ms,
            state,
            state_ms: whole.since_ms,
            types: vec![whole],
            refused: node.rejections.into_iter().map(refused).collect(),
        }
        .or_away()
    }

    pub(crate) fn of_client(client: wire::ClientStatus) -> Self {
        let kind = match client.kind() {
            wire::ClientKind::Envoy => "envoy",
            wire::ClientKind::Grpc => "grpc",
            wire::ClientKind::Unspecified => "other",
        };
        let types: Vec<Type> = client.types.iter().map(Type::of).collect();
        let state = types.iter().map(|it| it.state).max().unwrap_or(State::NotSent);
        let ages = types.iter().filter(|it| it.state == state).map(|it| it.since_ms);
        let age = match state {
            // Since the last of them has come to it.
            State::Synced => ages.min(),
            State::Stale | State::Rejected => ages.max(),
            State::NotSent | State::Away => None,
        };
        let refused = |it: wire::RefusedResource| Refused {
            r#type: short(&it.type_url),
            name: it.name,
            revision: it.revision,
            message: it.message,
        };
        Self {
            kind,
            id: client.id,
            node: client.node,
            version: client.version,
            connected: client.connected,
            since_ms: client.since_ms,
            state,
            state_ms: age.unwrap_or(client.since_ms),
            types,
            refused: client.refused.into_iter().map(refused).collect(),
        }
        .or_away()
    }

    fn or_away(self) -> Self {
        if self.connected {
            return self;
        }
        Self { state: State::Away, state_ms: self.since_ms, ..self }
    }

    /// `envoy/ID`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Type> {
        self.types.iter().find(|it| it.name == name)
    }

    /// A line for each resource that it refuses.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = String> {
        let kind = if self.kind == "agent" { String::new() } else { format!("{} ", self.kind) };
        self.refused.iter().map(move |it| {
            let Refused { r#type, name, revision, message } = it;
            let what = match (r#type.as_str(), name.as_str()) {
                (WHOLE, _) => String::new(),
                (r#type, "") => format!("{type}: "),
                (r#type, name) => format!("{type} {name}: "),
            };
            format!("{kind}{} rejects revision {revision}: {what}{message}\n", self.id)
        })
    }
}

impl Type {
    fn of(it: &wire::TypeStatus) -> Self {
        Self {
            name: short(&it.type_url),
            state: match it.state() {
                wire::SyncState::Unspecified | wire::SyncState::NotSent => State::NotSent,
                wire::SyncState::Stale => State::Stale,
                wire::SyncState::Synced => State::Synced,
                wire::SyncState::Rejected => State::Rejected,
            },
            since_ms: it.since_ms,
            sent_revision: it.sent_revision,
            acked_revision: it.acked_revision,
            resources: Some(it.resources),
        }
    }
}

/// What people call a type: its discovery service.
fn short(type_url: &str) -> String {
    match type_url.rsplit(['.', '/']).next() {
        Some("Cluster") => "CDS",
        Some("ClusterLoadAssignment") => "EDS",
        Some("Listener") => "LDS",
        Some("RouteConfiguration") => "RDS",
        Some(other) => other,
        None => type_url,
    }
    .to_owned()
}
