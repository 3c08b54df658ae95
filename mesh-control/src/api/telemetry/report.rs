//! Reports of agents: wire → model, within limits.

use std::collections::HashSet;
use std::time::Duration;

use mesh_api::model::Label;
use mesh_api::wire;
use tonic::Status;

use crate::telemetry::collector::Report;
use crate::telemetry::counts::{CAUSES, Counts};
use crate::telemetry::edge::{Edge, Reporter, Transport};

/// Most edges of one report.
pub(super) const MAX_EDGES: usize = 100_000;
/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 256;
/// Time between reports, if a report does not say it, and the shortest and longest there may be.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

pub(super) fn decode(request: wire::ReportTrafficRequest) -> Result<Report, Status> {
    let wire::ReportTrafficRequest { node, run, sequence, full, edges, omitted, interval_ms } =
        request;
    let wrong = |what: &str, value: &str, error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("{what} {value:?}: {error}"))
    };
    node.parse::<Label>().map_err(|error| wrong("node", &node, &error))?;
    run.parse::<Label>().map_err(|error| wrong("run", &run, &error))?;
    if sequence == 0 {
        return Err(Status::invalid_argument("sequence 0: count the reports of a run from 1"));
    }
    if edges.len() > MAX_EDGES {
        return Err(Status::failed_precondition(format!(
            "{} edges are too many for one report: report {MAX_EDGES} at most, and how many are \
             omitted",
            edges.len()
        )));
    }
    let edges: Vec<(Edge, Counts)> =
        edges.into_iter().map(|it| decode_edge(it, &node)).collect::<Result<_, Status>>()?;
    let mut seen = HashSet::with_capacity(edges.len());
    if let Some((twice, _)) = edges.iter().find(|(edge, _)| !seen.insert(edge)) {
        return Err(Status::invalid_argument(format!(
            "an edge is in the report twice, add its counts up: {twice:?}"
        )));
    }
    let interval = if interval_ms == 0 { INTERVAL } else { Duration::from_millis(interval_ms) };
    let interval = interval.clamp(INTERVALS.0, INTERVALS.1);
    Ok(Report { node, run, sequence, full, edges, omitted, interval })
}

fn decode_edge(it: wire::EdgeTraffic, node: &str) -> Result<(Edge, Counts), Status> {
    let edge = it.edge.ok_or_else(|| Status::invalid_argument("an edge is missing"))?;
    let reporter = match edge.reporter() {
        wire::Reporter::Source | wire::Reporter::Unspecified => Reporter::Source,
        wire::Reporter::Destination => Reporter::Destination,
    };
    let transport = match edge.transport() {
        wire::Transport::Unspecified => Transport::Unknown,
        wire::Transport::Tcp => Transport::Tcp,
        wire::Transport::Udp => Transport::Udp,
    };
    let mut source_node = tidy(edge.source_node);
    if source_node.is_empty() && reporter == Reporter::Source {
        node.clone_into(&mut source_node);
    }
    let edge = Edge {
        reporter,
        transport,
        source_workload: tidy(edge.source_workload),
        source_node,
        namespace: tidy(edge.namespace),
        service: tidy(edge.service),
        version: tidy(edge.version),
        workload: tidy(edge.workload),
    };
    Ok((edge, counts(it.traffic.unwrap_or_default())))
}

fn counts(traffic: wire::Traffic) -> Counts {
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
        failures: causes,
    } = traffic;
    let mut failures = [0_u64; CAUSES.len()];
    for cause in causes {
        let found = CAUSES.iter().position(|name| *name == cause.name);
        let index = found.unwrap_or(CAUSES.len() - 1);
        if let Some(number) = failures.get_mut(index) {
            *number = number.saturating_add(cause.count);
        }
    }
    Counts {
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
    }
}

/// For a terminal and a log line: nothing that moves the cursor, and not too long.
fn tidy(mut text: String) -> String {
    if text.chars().any(char::is_control) {
        text.retain(|it| !it.is_control());
    }
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text.shrink_to_fit();
    text
}
