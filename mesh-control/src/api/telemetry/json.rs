//! Answers as JSON: wire → what pages read. Numbers that are 0 and names that are empty are absent.

use mesh_api::wire;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Stat {
    rows: Vec<Row>,
    stale_nodes: Vec<String>,
    series_omitted: u64,
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    about: About,
    total: Traffic,
    /// Absent where nothing is known of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Traffic>,
    window_ms: u64,
    open: u64,
}

/// What was counted over time.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    step_ms: u64,
    end_ms: u64,
    rows: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    about: About,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    ago: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(flatten)]
    traffic: Traffic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct About {
    #[serde(skip_serializing_if = "String::is_empty")]
    source_workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    workload: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Traffic {
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u64,
    #[serde(skip_serializing_if = "is_zero")]
    opened: u64,
    #[serde(skip_serializing_if = "is_zero")]
    closed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes_sent: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes_received: u64,
    #[serde(skip_serializing_if = "is_zero")]
    retransmits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    rtt_us: u64,
    #[serde(skip_serializing_if = "is_zero")]
    duration_us: u64,
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    #[serde(skip_serializing_if = "is_zero")]
    passed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Cause>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<Cause>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cause {
    name: String,
    count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<wire::StatResponse> for Stat {
    fn from(it: wire::StatResponse) -> Self {
        let wire::StatResponse { rows, stale_nodes, series_omitted } = it;
        Self { rows: rows.into_iter().map(Row::from).collect(), stale_nodes, series_omitted }
    }
}

impl From<wire::StatRow> for Row {
    fn from(it: wire::StatRow) -> Self {
        let wire::StatRow { edge, total, window, window_ms, open } = it;
        Self {
            about: edge.unwrap_or_default().into(),
            total: total.unwrap_or_default().into(),
            window: window.map(Traffic::from),
            window_ms,
            open,
        }
    }
}

impl From<wire::SeriesResponse> for Series {
    fn from(it: wire::SeriesResponse) -> Self {
        let wire::SeriesResponse { rows, step_ms, end_ms } = it;
        Self { step_ms, end_ms, rows: rows.into_iter().map(Line::from).collect() }
    }
}

impl From<wire::SeriesRow> for Line {
    fn from(it: wire::SeriesRow) -> Self {
        let points = it.points.into_iter().map(|point| {
            let wire::SeriesPoint { ago, traffic, partial } = point;
            Point { ago, partial, traffic: traffic.unwrap_or_default().into() }
        });
        Self { about: it.edge.unwrap_or_default().into(), points: points.collect() }
    }
}

impl From<wire::Edge> for About {
    fn from(it: wire::Edge) -> Self {
        let wire::Edge {
            reporter: _,
            transport: _,
            source_workload,
            source_node,
            namespace,
            service,
            version,
            workload,
        } = it;
        Self { source_workload, source_node, namespace, service, version, workload }
    }
}

impl From<wire::Traffic> for Traffic {
    fn from(it: wire::Traffic) -> Self {
        let wire::Traffic {
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
            failures,
            refusals,
        } = it;
        let causes = |causes: Vec<wire::Cause>| {
            causes.into_iter().map(|wire::Cause { name, count }| Cause { name, count }).collect()
        };
        Self {
            attempts,
            opened,
            closed,
            failed,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt_us,
            duration_us,
            refused,
            passed,
            failures: causes(failures),
            refusals: causes(refusals),
        }
    }
}
