//! Whose report decides: the rules, from scratch for one endpoint.

use std::fmt;
use std::time::Instant;

use mesh_api::model::{Health, Label};

/// Who checks an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The agent of a node.
    Agent(Label),
    /// The control plane.
    ControlPlane,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(node) => write!(f, "agent {node}"),
            Self::ControlPlane => f.write_str("control-plane"),
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `None`: it has not decided.
    pub status: Option<Health>,
    /// For people.
    pub reason: String,
    /// Since when it has this status.
    pub since: Instant,
    /// Of the last check that was answered, microseconds; 0: none was.
    pub latency_us: u64,
}

/// How far a report still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its source says so now.
    Current,
    /// Its source has not been heard of for too long.
    Gone,
    /// Its source leaves it to another that has not decided yet.
    Stopped,
    /// Its source has begun anew and has not decided again.
    Undecided,
}

/// The last finding of a source, and how far it holds. One that is not current has a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) source: Source,
    pub(super) finding: Finding,
    pub(super) standing: Standing,
}

impl Report {
    /// Whether its source says now what the endpoint is.
    pub(super) fn decides(&self) -> bool {
        self.standing == Standing::Current && self.finding.status.is_some()
    }
}

/// What comes of all reports about an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Option<Health>,
    pub(super) reason: String,
    pub(super) since: Option<Instant>,
    /// Whose report decided.
    pub(super) source: Option<Source>,
    pub(super) latency_us: u64,
}

/// Who may decide about an endpoint of this node: the higher, the sooner. `None`: nobody asked.
pub(super) fn rank(node: Option<&Label>, source: &Source, standing: Standing) -> Option<u8> {
    let own = match source {
        Source::Agent(agent) => node == Some(agent),
        Source::ControlPlane => false,
    };
    match (source, standing) {
        (Source::Agent(_), _) if !own => None,
        (Source::Agent(_), Standing::Current) => Some(3),
        (Source::ControlPlane, Standing::Current) => Some(2),
        // The last known status stays until somebody knows better.
        (
            Source::Agent(_) | Source::ControlPlane,
            Standing::Gone | Standing::Stopped | Standing::Undecided,
        ) => Some(1),
    }
}

/// The verdict on an endpoint. `recalled` is what was known before anybody
/// could report.
pub(super) fn judge(node: Option<&Label>, reports: &[Report], recalled: Option<Health>) -> Verdict {
    let ranked = reports.iter().filter_map(|report| {
        Some((rank(node, &report.source, report.standing)?, report.finding.status, report))
    });
    // Among equals, `Unhealthy` is the greater status.
    let known = ranked.clone().filter(|(_, status, _)| status.is_some());
    if let Some((_, status, report)) = known.max_by_key(|(rank, status, _)| (*rank, *status)) {
        let Report { source, finding, standing } = report;
        return Verdict {
            status,
            reason: match standing {
                Standing::Current => finding.reason.clone(),
                Standing::Gone => format!("{source} gone; last: {}", finding.reason),
                Standing::Stopped => {
                    format!("not checked by the {source} any more; last: {}", finding.reason)
                }
                Standing::Undecided => {
                    format!("{source} has begun anew; last: {}", finding.reason)
                }
            },
            since: Some(finding.since),
            source: Some(source.clone()),
            latency_us: finding.latency_us,
        };
    }
    // Whoever checks may say why it does not know.
    let undecided = ranked.max_by_key(|(rank, ..)| *rank).map(|(.., report)| report);
    let reason = undecided.map(|report| report.finding.reason.clone());
    let reason = match recalled {
        Some(_) => "not checked anew yet; last known".to_owned(),
        None => reason.filter(|text| !text.is_empty()).unwrap_or_else(|| match node {
            Some(node) => format!("not checked yet by the agent of node {node}"),
            None => "not checked yet".to_owned(),
        }),
    };
    Verdict { status: recalled, reason, since: None, source: None, latency_us: 0 }
}
