//! What is known of endpoints and of guards, as it is printed.

use mesh_api::wire;
use serde::Serialize;

use crate::output::style::Tone;

/// Whether an endpoint can take connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Status {
    /// It has not been checked yet.
    Unknown,
    /// It can.
    Healthy,
    /// It cannot.
    Unhealthy,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
        }
    }

    pub(crate) const fn tone(self) -> Option<Tone> {
        match self {
            Self::Unknown => None,
            Self::Healthy => Some(Tone::Good),
            Self::Unhealthy => Some(Tone::Bad),
        }
    }
}

impl From<wire::HealthStatus> for Status {
    fn from(status: wire::HealthStatus) -> Self {
        match status {
            wire::HealthStatus::Unspecified => Self::Unknown,
            wire::HealthStatus::Healthy => Self::Healthy,
            wire::HealthStatus::Unhealthy => Self::Unhealthy,
        }
    }
}

/// What is known of an endpoint; the JSON form is for scripts, so its names stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) address: String,
    pub(crate) node: String,
    pub(crate) status: Status,
    pub(crate) since_ms: u64,
    pub(crate) reason: String,
    /// Whose report decided.
    pub(crate) source: String,
    /// Of the last check that was answered; 0: none was.
    pub(crate) latency_us: u64,
    /// Taken for unhealthy for so long yet, because it changes too often.
    pub(crate) held_ms: u64,
    /// Within the last minutes.
    pub(crate) changes: u32,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A report that says something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Conflict {
    pub(crate) source: String,
    pub(crate) status: Status,
    pub(crate) since_ms: u64,
    pub(crate) reason: String,
}

impl From<wire::EndpointHealthView> for Endpoint {
    fn from(it: wire::EndpointHealthView) -> Self {
        let status = it.status().into();
        let conflict = |it: wire::HealthConflict| Conflict {
            status: it.status().into(),
            source: it.source,
            since_ms: it.since_ms,
            reason: it.reason,
        };
        Self {
            namespace: it.namespace,
            name: it.name,
            service: it.service,
            address: it.address,
            node: it.node,
            status,
            since_ms: it.since_ms,
            reason: it.reason,
            source: it.source,
            latency_us: it.latency_us,
            held_ms: it.held_ms,
            changes: it.changes,
            conflicts: it.conflicts.into_iter().map(conflict).collect(),
        }
    }
}

impl Endpoint {
    /// What lists are sorted by.
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.namespace, &self.service, &self.name)
    }

    /// `endpoint/reviews-1`.
    pub(crate) fn subject(&self) -> String {
        format!("endpoint/{}", self.name)
    }

    /// Whether nothing has changed that is worth a line: of one that is healthy it does not matter
    /// who says so, nor why.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let healthy = self.status == Status::Healthy;
        self.status == other.status && (healthy || self.reason == other.reason)
    }
}

/// What keeps connections away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum GuardState {
    /// A breaker that lets nothing through.
    Open,
    /// A breaker that lets trials through.
    HalfOpen,
    /// An endpoint that is out for a while.
    Ejected,
    /// What this version does not know.
    Unknown,
}

impl GuardState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::HalfOpen => "HalfOpen",
            Self::Ejected => "Ejected",
            Self::Unknown => "Unknown",
        }
    }

    /// What it is called when it is over.
    pub(crate) const fn end(self) -> &'static str {
        match self {
            Self::Open | Self::HalfOpen => "Closed",
            Self::Ejected => "Back",
            Self::Unknown => "Over",
        }
    }
}

impl From<wire::GuardState> for GuardState {
    fn from(state: wire::GuardState) -> Self {
        match state {
            wire::GuardState::Unspecified => Self::Unknown,
            wire::GuardState::Open => Self::Open,
            wire::GuardState::HalfOpen => Self::HalfOpen,
            wire::GuardState::Ejected => Self::Ejected,
        }
    }
}

/// A breaker that is not closed, or an ejection, on one node; the JSON form as above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Guard {
    pub(crate) node: String,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u32,
    /// Empty: the whole service's breaker.
    pub(crate) endpoint: String,
    pub(crate) state: GuardState,
    pub(crate) since_ms: u64,
    /// Until it is tried again or is back; 0: at the next connect.
    pub(crate) remaining_ms: u64,
    pub(crate) cause: String,
}

/// What a guard is about: node, namespace, service, port, endpoint, and whether it is an ejection.
pub(crate) type GuardKey = (String, String, String, u32, String, bool);

impl Guard {
    /// All guards of a node.
    pub(crate) fn of_node(report: wire::NodeGuards) -> Vec<Self> {
        let wire::NodeGuards { node, guards, omitted: _ } = report;
        let guard = |it: wire::GuardReport| Self {
            node: node.clone(),
            state: it.state().into(),
            namespace: it.namespace,
            service: it.service,
            port: it.port,
            endpoint: it.endpoint,
            since_ms: it.since_ms,
            remaining_ms: it.remaining_ms,
            cause: it.cause,
        };
        guards.into_iter().map(guard).collect()
    }

    /// An endpoint can have a breaker that is open, and be ejected.
    pub(crate) fn key(&self) -> GuardKey {
        (
            self.node.clone(),
            self.namespace.clone(),
            self.service.clone(),
            self.port,
            self.endpoint.clone(),
            self.state == GuardState::Ejected,
        )
    }
}
