//! An answer as a whole, and what is to be known beside its rows.

use mesh_api::wire;
use serde::Serialize;

use super::{By, Column, Row, Scope};

/// Nodes that are named; more are only counted.
const NAMED: usize = 5;

/// An answer; the JSON form is for scripts, so its names stay.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    /// What the rows stand for.
    pub(crate) by: By,
    pub(crate) rows: Vec<Row>,
    /// Nodes whose part is old.
    pub(crate) stale_nodes: Vec<String>,
    /// Series that there was no room for.
    pub(crate) series_omitted: u64,
}

impl Found {
    /// Takes an answer in, sorted.
    pub(crate) fn new(by: By, sort: Column, response: wire::StatResponse) -> Self {
        let wire::StatResponse { rows, stale_nodes, series_omitted } = response;
        let mut rows: Vec<Row> = rows.into_iter().map(Row::from).collect();
        rows.sort_by(|a, b| sort.compare(a, b));
        Self { by, rows, stale_nodes, series_omitted }
    }

    /// What is to be known beside the rows.
    pub(crate) fn remarks(&self, scope: &Scope) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.rows.is_empty() {
            remarks.push(nothing(scope));
        }
        remarks.extend(stale(&self.stale_nodes));
        remarks.extend(omitted(self.series_omitted));
        remarks
    }
}

/// What is said instead of rows.
pub(crate) fn nothing(scope: &Scope) -> String {
    let place = scope.place();
    let space = if place.is_empty() { "" } else { " " };
    format!(
        "no traffic{space}{place} is known yet: agents report it within seconds, once connections \
         to a service are made (`meshctl status` shows which agents are connected)"
    )
}

/// A line about nodes whose part is old.
pub(crate) fn stale(nodes: &[String]) -> Option<String> {
    let named: Vec<&str> = nodes.iter().take(NAMED).map(String::as_str).collect();
    let more = match nodes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let reports = if nodes.len() == 1 { "is" } else { "are" };
    (!named.is_empty()).then(|| {
        format!(
            "{}{more} {reports} late to report: that part of the numbers is old",
            named.join(", ")
        )
    })
}

/// A line about series that are missing.
pub(crate) fn omitted(series: u64) -> Option<String> {
    (series > 0).then(|| {
        let are = if series == 1 { " is" } else { " are" };
        format!("{series} series{are} not shown apart: there was no room for them")
    })
}
