//! Reports of agents: wire → model, within limits.

use std::collections::HashSet;
use std::time::Duration;

use mesh_api::model::Label;
use mesh_api::wire;
use tonic::Status;

use crate::telemetry::collector::Report;
use crate::telemetry::collector::moves::Move;
use crate::telemetry::counts::{CAUSES, Counts, REFUSALS, by_cause};
use crate::telemetry::edge::{Edge, Reporter, Transport};

/// Most edges of one report.
pub const MAX_EDGES: usize = 100_000;
/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 256;
/// Time between reports, if a report does not say it, and the shortest and longest there may be.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// Takes over what an agent says, and refuses what cannot be.
///
/// # Errors
///
/// What is wrong with it, for the agent's log.
pub fn decode(request: wire::ReportTrafficRequest) -> Result<Report, Status> {
    let wire::ReportTrafficRequest {
        node,
        run,
        sequence,
        full,
        edges,
        omitted,
        interval_ms,
        moves,
        last_move,
        anew,
    } = request;
    let wrong = |what: &str, value: &str, error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("{what} {value:?}: {error}"))
    };
    node.parse::<Label>().map_err(|error| wrong("node", &node, &error))?;
    run.parse::<Label>().map_err(|error| wrong("run", &run, &error))?;
    if sequence == 0 {
        return Err(Status::invalid_argument("sequence 0: count the reports of a run from 1"));
    }
    let edges: Vec<(Edge, Counts)> =
        edges.into_iter().map(|it| decode_edge(it, &node)).collect::<Result<_, Status>>()?;
    let mut seen = HashSet::with_capacity(edges.len());
    if let Some((twice, _)) = edges.iter().find(|(edge, _)| !seen.insert(edge)) {
        return Err(Status::invalid_argument(format!(
            "an edge is in the report twice, add its counts up: {twice:?}"
        )));
    }
    if u64::try_from(moves.len()).is_ok_and(|moves| moves > last_move) {
        return Err(Status::invalid_argument(format!(
            "{} moves, of {last_move} in all",
            moves.len()
        )));
    }
    let moves =
        moves.into_iter().map(|it| decode_move(it, &node)).collect::<Result<_, Status>>()?;
    let interval = if interval_ms == 0 { INTERVAL } else { Duration::from_millis(interval_ms) };
    let interval = interval.clamp(INTERVALS.0, INTERVALS.1);
    Ok(Report { node, run, sequence, full, edges, omitted, interval, moves, last_move, anew })
}

fn decode_edge(it: wire::EdgeTraffic, node: &str) -> Result<(Edge, Counts), Status> {
    Ok((named(it.edge, node)?, counts(it.traffic.unwrap_or_default())))
}

fn decode_move(it: wire::Move, node: &str) -> Result<Move, Status> {
    let (from, into) = (named(it.from, node)?, named(it.into, node)?);
    Ok(Move { from, into, counts: counts(it.traffic.unwrap_or_default()) })
}

fn named(edge: Option<wire::Edge>, node: &str) -> Result<Edge, Status> {
    let edge = edge.ok_or_else(|| Status::invalid_argument("an edge is missing"))?;
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
    Ok(Edge {
        reporter,
        transport,
        source_workload: tidy(edge.source_workload),
        source_node,
        namespace: tidy(edge.namespace),
        service: tidy(edge.service),
        version: tidy(edge.version),
        workload: tidy(edge.workload),
    })
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
        failures,
        refusals,
    } = traffic;
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
        failures: by_cause(&CAUSES, &failures),
        refusals: by_cause(&REFUSALS, &refusals),
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
