//! Questions and answers: wire ↔ model.

use std::time::{Duration, Instant};

use mesh_api::convert::milliseconds;
use mesh_api::wire;
use tonic::Status;

use crate::telemetry::book::TrafficBook;
use crate::telemetry::counts::{CAUSES, Counts, REFUSALS, causes};
use crate::telemetry::edge::{By, Reporter, Select, Subject};
use crate::telemetry::query::{Line, Point, Row};

/// Most rows of one answer: some 3 MB, where clients take 4 MB.
const MAX_ROWS: usize = 10_000;
/// Windows: the default, and the shortest and longest.
const WINDOW_MS: u64 = 10_000;
const WINDOWS_MS: (u64, u64) = (1_000, 3_600_000);
/// Time between the answers of a watch: the default, and the shortest and longest.
const EVERY_MS: u64 = 1_000;
const EVERYS_MS: (u64, u64) = (250, 60_000);

/// How far back: the default, and the least and most.
const RANGE_MS: u64 = 900_000;
const RANGES_MS: (u64, u64) = (1_000, 86_400_000);
/// Points of a row: the default, and the most.
const POINTS: u32 = 300;
const MAX_POINTS: u32 = 1_440;

/// A question about totals and rates.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) select: Select,
    pub(super) window: Duration,
    pub(super) every: Duration,
}

impl Question {
    pub(super) fn new(request: wire::StatRequest) -> Result<Self, Status> {
        let window = bounded("window_ms", request.window_ms, WINDOW_MS, WINDOWS_MS)?;
        let every = bounded("every_ms", request.every_ms, EVERY_MS, EVERYS_MS)?;
        Ok(Self { select: select(request)?, window, every })
    }

    pub(super) fn ask(
        &self,
        book: &TrafficBook,
        now: Instant,
    ) -> Result<wire::StatResponse, Status> {
        let stat = book.stat(&self.select, self.window, now);
        if stat.rows.len() > MAX_ROWS {
            return Err(Status::failed_precondition(format!(
                "{} rows are too many for one answer: name a namespace, a service, a workload or a \
                 node, or group by service",
                stat.rows.len()
            )));
        }
        Ok(wire::StatResponse {
            rows: stat.rows.into_iter().map(stat_row).collect(),
            stale_nodes: stat.stale_nodes,
            series_omitted: stat.omitted,
        })
    }
}

/// A question about what was counted over time.
#[derive(Clone, Debug)]
pub(super) struct History {
    select: Select,
    range: Duration,
    points: u32,
}

impl History {
    pub(super) fn new(request: wire::SeriesRequest) -> Result<Self, Status> {
        let wire::SeriesRequest { of, range_ms, points } = request;
        let range = bounded("range_ms", range_ms, RANGE_MS, RANGES_MS)?;
        if points > MAX_POINTS {
            return Err(Status::invalid_argument(format!(
                "points {points}: it can be 1 to {MAX_POINTS}, or 0 for {POINTS}"
            )));
        }
        let points = if points == 0 { POINTS } else { points };
        Ok(Self { select: select(of.unwrap_or_default())?, range, points })
    }

    /// `time` is the Unix time of `now`.
    pub(super) fn ask(
        &self,
        book: &TrafficBook,
        now: Instant,
        time: Duration,
    ) -> Result<wire::SeriesResponse, Status> {
        let plot = book.plot(&self.select, self.range, self.points, now);
        let plot = plot.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(wire::SeriesResponse {
            rows: plot.lines.into_iter().map(series_row).collect(),
            step_ms: milliseconds(plot.step),
            end_ms: milliseconds(time.saturating_sub(plot.since_end)),
        })
    }
}

fn series_row(line: Line) -> wire::SeriesRow {
    let points = line.points.into_iter().map(|Point { ago, counts, partial }| wire::SeriesPoint {
        ago: u32::try_from(ago).unwrap_or(u32::MAX),
        traffic: Some(traffic(&counts)),
        partial,
    });
    wire::SeriesRow { edge: Some(edge(line.subject)), points: points.collect() }
}

fn select(request: wire::StatRequest) -> Result<Select, Status> {
    let by = match wire::GroupBy::try_from(request.by) {
        Ok(wire::GroupBy::Unspecified | wire::GroupBy::Service) => By::Service,
        Ok(wire::GroupBy::Edge) => By::Edge,
        Ok(wire::GroupBy::Version) => By::Version,
        Ok(wire::GroupBy::Workload) => By::Workload,
        Ok(wire::GroupBy::Node) => By::Node,
        Err(error) => {
            return Err(Status::invalid_argument(format!(
                "by: {error}: group by service, edge, version, workload or node"
            )));
        }
    };
    let reporter = match wire::Reporter::try_from(request.reporter) {
        Ok(wire::Reporter::Unspecified | wire::Reporter::Source) => Reporter::Source,
        Ok(wire::Reporter::Destination) => Reporter::Destination,
        Err(error) => {
            return Err(Status::invalid_argument(format!(
                "reporter: {error}: ask for source or destination"
            )));
        }
    };
    let wire::StatRequest { namespace, service, source_workload, node, .. } = request;
    Ok(Select { by, namespace, service, source_workload, node, reporter })
}

/// A time within bounds; 0 is the default.
fn bounded(
    field: &str,
    value: u64,
    default: u64,
    (least, most): (u64, u64),
) -> Result<Duration, Status> {
    let value = if value == 0 { default } else { value };
    if (least..=most).contains(&value) {
        return Ok(Duration::from_millis(value));
    }
    Err(Status::invalid_argument(format!(
        "{field} {value}: it can be {least} to {most}, or 0 for {default}"
    )))
}

fn stat_row(row: Row) -> wire::StatRow {
    let Row { subject, total, window } = row;
    wire::StatRow {
        edge: Some(edge(subject)),
        total: Some(traffic(&total)),
        window: window.map(|(counts, _)| traffic(&counts)),
        window_ms: window.map_or(0, |(_, length)| milliseconds(length)),
        open: total.open(),
    }
}

fn edge(subject: Subject<String>) -> wire::Edge {
    let Subject { namespace, service, version, workload, source_workload, source_node } = subject;
    wire::Edge {
        namespace,
        service,
        version,
        workload,
        source_workload,
        source_node,
        ..wire::Edge::default()
    }
}

fn traffic(counts: &Counts) -> wire::Traffic {
    let Counts {
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
    } = *counts;
    wire::Traffic {
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
        failures: causes(&CAUSES, failures),
        refusals: causes(&REFUSALS, refusals),
    }
}
