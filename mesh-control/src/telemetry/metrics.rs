//! Numbers about the reports of traffic.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::collector::Outcome;
use super::series::metrics::HistoryMetrics;
use super::services::ServiceMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct TelemetryMetrics {
    reports: Family<ResultLabel, Counter>,
    nodes: Gauge,
    late: Gauge,
    edges: Gauge,
    omitted: Gauge,
    /// Edges whose totals fell.
    pub resets: Counter,
    /// What is kept over time.
    pub history: HistoryMetrics,
    /// Traffic by service.
    pub services: ServiceMetrics,
}

/// How the collector is doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Nodes that report.
    pub nodes: usize,
    /// Those whose reports are late.
    pub late: usize,
    /// Edges that they report.
    pub edges: usize,
    /// Edges that there was no room for.
    pub omitted: u64,
}

const REFUSED: &str = "refused";

const fn name_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Taken => "taken",
        Outcome::Gap => "gap",
        Outcome::Repeated => "repeated",
    }
}

impl TelemetryMetrics {
    /// Adds them to a registry, at zero.
    pub fn register(&self, to: &mut Registry) {
        let results = [Outcome::Taken, Outcome::Gap, Outcome::Repeated].map(name_of);
        for result in results.into_iter().chain([REFUSED]) {
            self.reports.get_or_create_owned(&ResultLabel { result });
        }
        let it = self.reports.clone();
        to.register("mesh_control_traffic_reports", "Reports of agents on traffic, by result", it);
        let it = self.nodes.clone();
        to.register("mesh_control_traffic_nodes", "Nodes that report traffic", it);
        let it = self.late.clone();
        to.register("mesh_control_traffic_nodes_late", "Nodes whose reports are late", it);
        let it = self.edges.clone();
        to.register("mesh_control_traffic_edges", "Edges that nodes report", it);
        let it = self.omitted.clone();
        let help = "Edges that there is no room for, here or at the nodes";
        to.register("mesh_control_traffic_edges_omitted", help, it);
        let it = self.resets.clone();
        let help = "Times that totals of an edge fell, because its node had lost them";
        to.register("mesh_control_traffic_resets", help, it);
        self.history.register(to);
        self.services.register(to);
    }

    /// Counts a report.
    pub fn reported(&self, outcome: Outcome) {
        self.reports.get_or_create_owned(&ResultLabel { result: name_of(outcome) }).inc();
    }

    /// Counts a report that was not taken.
    pub fn refused(&self) {
        self.reports.get_or_create_owned(&ResultLabel { result: REFUSED }).inc();
    }

    /// Takes over how the collector is doing.
    pub fn observe(&self, size: Size) {
        let set = |gauge: &Gauge, count| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.nodes, size.nodes);
        set(&self.late, size.late);
        set(&self.edges, size.edges);
        self.omitted.set(i64::try_from(size.omitted).unwrap_or(i64::MAX));
    }
}
