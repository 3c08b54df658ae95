//! A row of an answer: what it is about, what was counted, and rates.

use std::collections::BTreeMap;

use mesh_api::wire;
use serde::Serialize;

use super::By;
use crate::output::units::float;

/// A row; the JSON form is for scripts, so its names stay.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// What it is about.
    #[serde(flatten)]
    pub(crate) subject: Subject,
    /// Connections that are open.
    pub(crate) open: u64,
    /// What `window` is of; shorter than asked for where less is known.
    pub(crate) window_ms: u64,
    /// What follows from `window`.
    pub(crate) rates: Rates,
    /// What was counted within the window.
    pub(crate) window: Counts,
    /// What was counted since the nodes began to.
    pub(crate) total: Counts,
}

/// What a row is about. Empty: it is about all, or it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subject {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    /// Of the endpoint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) source_workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) source_node: String,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// Times a backend was chosen.
    pub(crate) attempts: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    /// Of `failed`, by cause.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Connects that no backend could take and that got an error.
    pub(crate) refused: u64,
    /// Of `refused`, by cause.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Connects that no backend could take and that were let through.
    pub(crate) passed: u64,
    /// Payload of ended connections, as the client sees it.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) retransmits: u64,
    /// Sum over ended connections.
    pub(crate) rtt_us: u64,
    /// Sum over ended connections.
    pub(crate) duration_us: u64,
}

/// What follows from counts and a time. `None`: nothing to divide by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rates {
    pub(crate) opened_per_second: Option<f64>,
    /// Of the connections whose fate was decided.
    pub(crate) failed_percent: Option<f64>,
    pub(crate) refused_per_second: Option<f64>,
    pub(crate) bytes_sent_per_second: Option<f64>,
    pub(crate) bytes_received_per_second: Option<f64>,
    /// Of the connections that ended.
    pub(crate) mean_rtt_us: Option<f64>,
}

impl From<wire::Traffic> for Counts {
    fn from(it: wire::Traffic) -> Self {
        let causes =
            |causes: Vec<wire::Cause>| causes.into_iter().map(|it| (it.name, it.count)).collect();
        Self {
            attempts: it.attempts,
            opened: it.opened,
            closed: it.closed,
            failed: it.failed,
            failures: causes(it.failures),
            refused: it.refused,
            refusals: causes(it.refusals),
            passed: it.passed,
            bytes_sent: it.bytes_sent,
            bytes_received: it.bytes_received,
            retransmits: it.retransmits,
            rtt_us: it.rtt_us,
            duration_us: it.duration_us,
        }
    }
}

impl Counts {
    /// Why connections failed.
    pub(crate) fn failed_by(&self) -> Vec<(&str, u64)> {
        by_cause(&self.failures, self.failed)
    }

    /// Why connects were refused.
    pub(crate) fn refused_by(&self) -> Vec<(&str, u64)> {
        by_cause(&self.refusals, self.refused)
    }
}

/// The causes that there were, and how much has none: an older agent has counted it, say.
fn by_cause(causes: &BTreeMap<String, u64>, whole: u64) -> Vec<(&str, u64)> {
    let named: u64 = causes.values().sum();
    let rest = ("not known", whole.saturating_sub(named));
    let causes = causes.iter().map(|(name, count)| (name.as_str(), *count));
    causes.chain([rest]).filter(|(_, count)| *count > 0).collect()
}

impl From<wire::Edge> for Subject {
    fn from(it: wire::Edge) -> Self {
        Self {
            namespace: it.namespace,
            service: it.service,
            version: it.version,
            workload: it.workload,
            source_workload: it.source_workload,
            source_node: it.source_node,
        }
    }
}

impl From<wire::StatRow> for Row {
    fn from(it: wire::StatRow) -> Self {
        let window = Counts::from(it.window.unwrap_or_default());
        Self {
            subject: it.edge.unwrap_or_default().into(),
            open: it.open,
            window_ms: it.window_ms,
            rates: Rates::of(&window, it.window_ms),
            window,
            total: it.total.unwrap_or_default().into(),
        }
    }
}

impl Rates {
    /// Of what was counted within so many milliseconds.
    pub(crate) fn of(counts: &Counts, milliseconds: u64) -> Self {
        let per_second = |count: u64| ratio(float(count) * 1000.0, milliseconds);
        let decided = counts.opened.saturating_add(counts.failed);
        Self {
            opened_per_second: per_second(counts.opened),
            failed_percent: ratio(float(counts.failed) * 100.0, decided),
            refused_per_second: per_second(counts.refused),
            bytes_sent_per_second: per_second(counts.bytes_sent),
            bytes_received_per_second: per_second(counts.bytes_received),
            mean_rtt_us: ratio(float(counts.rtt_us), counts.closed),
        }
    }
}

fn ratio(number: f64, of: u64) -> Option<f64> {
    (of > 0).then(|| number / float(of))
}

impl Subject {
    /// The cells that name the row, under the headings of [`headings`].
    pub(crate) fn cells(&self, by: By, namespace: bool) -> Vec<&str> {
        let namespace = (namespace && by != By::Node).then_some(self.namespace.as_str());
        let rest: &[&str] = match by {
            By::Service => &[&self.service],
            By::Edge => &[&self.source_workload, &self.service],
            By::Version => &[&self.service, &self.version],
            By::Workload => &[&self.service, &self.workload],
            By::Node => &[&self.source_node],
        };
        namespace.into_iter().chain(rest.iter().copied()).collect()
    }

    /// One text, as in `shop/reviews`, `nginx.service → shop/reviews`, `shop/reviews v2`.
    pub(crate) fn name(&self, by: By, namespace: bool) -> String {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let service = if namespace && !self.namespace.is_empty() {
            format!("{}/{}", self.namespace, or_dash(&self.service))
        } else {
            or_dash(&self.service)
        };
        match by {
            By::Service => service,
            By::Edge => format!("{} → {service}", or_dash(&self.source_workload)),
            By::Version => format!("{service} {}", or_dash(&self.version)),
            By::Workload => format!("{service} {}", or_dash(&self.workload)),
            By::Node => or_dash(&self.source_node),
        }
    }
}

/// What rows are named by.
pub(crate) fn headings(by: By, namespace: bool) -> Vec<&'static str> {
    let namespace = (namespace && by != By::Node).then_some("NAMESPACE");
    let rest: &[&str] = match by {
        By::Service => &["SERVICE"],
        By::Edge => &["FROM", "SERVICE"],
        By::Version => &["SERVICE", "VERSION"],
        By::Workload => &["SERVICE", "WORKLOAD"],
        By::Node => &["NODE"],
    };
    namespace.into_iter().chain(rest.iter().copied()).collect()
}
