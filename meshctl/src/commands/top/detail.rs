//! What is shown of one row: its last minutes, and what is below it.

use mesh_api::wire;

use crate::output::units::float;
use crate::traffic::{By, Column, Found, Row, Scope, Subject};

/// How far back the chart goes.
pub(super) const RANGE_MS: u64 = 900_000;
/// Most points of the chart.
const POINTS: u32 = 180;

/// What the control plane is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// Of which row.
    pub(super) subject: Subject,
    /// Its last minutes.
    pub(super) series: wire::SeriesRequest,
    /// What is below it, where something is.
    pub(super) below: Option<(By, wire::StatRequest)>,
}

impl Query {
    /// For a row of a view.
    pub(super) fn new(scope: &Scope, subject: &Subject) -> Self {
        let narrow = |by: By| {
            let or = |all: &mut String, own: &String| {
                if !own.is_empty() {
                    all.clone_from(own);
                }
            };
            let mut scope = scope.clone();
            scope.by = by;
            or(&mut scope.namespace, &subject.namespace);
            or(&mut scope.service, &subject.service);
            or(&mut scope.from, &subject.source_workload);
            or(&mut scope.node, &subject.source_node);
            scope.request(None)
        };
        let below = match scope.by {
            By::Service | By::Edge => Some(By::Version),
            By::Node => Some(By::Service),
            // The control plane does not choose by them.
            By::Version | By::Workload => None,
        };
        let of = Some(narrow(scope.by));
        Self {
            subject: subject.clone(),
            series: wire::SeriesRequest { of, range_ms: RANGE_MS, points: POINTS },
            below: below.map(|by| (by, narrow(by))),
        }
    }
}

/// What the control plane has said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Detail {
    /// Of which row.
    pub(super) subject: Subject,
    /// Minutes ago, as negative numbers, and connections opened a second.
    pub(super) opened: Vec<(f64, f64)>,
    /// The same of connections that failed.
    pub(super) failed: Vec<(f64, f64)>,
    /// What is below the row.
    pub(super) below: Option<(By, Vec<Row>)>,
}

impl Detail {
    /// From the answers to a query.
    pub(super) fn new(
        query: &Query,
        series: wire::SeriesResponse,
        below: Option<wire::StatResponse>,
    ) -> Self {
        let step_ms = series.step_ms.max(1);
        let is = |row: &wire::SeriesRow| {
            row.edge.clone().is_some_and(|edge| Subject::from(edge) == query.subject)
        };
        let points = series.rows.into_iter().filter(is).flat_map(|row| row.points);
        let (mut opened, mut failed) = (Vec::new(), Vec::new());
        for wire::SeriesPoint { ago, traffic, .. } in points {
            let traffic = traffic.unwrap_or_default();
            let minutes = -f64::from(ago) * float(step_ms) / 60_000.0;
            let per_second = |count: u64| float(count) * 1000.0 / float(step_ms);
            opened.push((minutes, per_second(traffic.opened)));
            failed.push((minutes, per_second(traffic.failed)));
        }
        let below = query.below.as_ref().map(|(by, _)| *by).zip(below);
        let below = below.map(|(by, response)| {
            let found = Found::new(by, Column::Name, response);
            (by, found.rows)
        });
        Self { subject: query.subject.clone(), opened, failed, below }
    }

    /// The highest of the chart.
    pub(super) fn most(&self) -> f64 {
        let all = self.opened.iter().chain(&self.failed);
        all.map(|(_, rate)| *rate).fold(0.0, f64::max)
    }
}
