//! The reporter's own numbers as Prometheus metrics; docs/metrics.md lists them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What came of the reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Reports that were taken.
    pub reported: u64,
    /// Reports of which that is not known.
    pub failed: u64,
    /// Edges in those that were taken.
    pub rows: u64,
    /// Edges with a row of their own.
    pub edges: usize,
    /// Edges that are counted together.
    pub omitted: u64,
    /// Time between two reports.
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Registers the numbers.
pub fn register(registry: &mut Registry, figures: &Figures) {
    let reports = Family::<ResultLabels, Counter>::default();
    for (result, count) in [("taken", figures.reported), ("failed", figures.failed)] {
        reports.get_or_create(&ResultLabels { result }).inc_by(count);
    }
    registry.register(
        "mesh_agent_traffic_reports",
        "Reports of what was counted, by what came of them",
        reports,
    );
    let rows: Counter = Counter::default();
    rows.inc_by(figures.rows);
    registry.register("mesh_agent_traffic_report_rows", "Edges in reports that were taken", rows);
    let edges = i64::try_from(figures.edges).unwrap_or(i64::MAX);
    let omitted = i64::try_from(figures.omitted).unwrap_or(i64::MAX);
    for (name, help, value) in [
        ("mesh_agent_traffic_edges", "Edges that are reported one by one", edges),
        ("mesh_agent_traffic_edges_omitted", "Edges that are reported together", omitted),
    ] {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let interval = Gauge::<f64, AtomicU64>::default();
    interval.set(figures.interval.as_secs_f64());
    registry.register(
        "mesh_agent_traffic_report_interval_seconds",
        "Time between two reports",
        interval,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn all_are_documented() {
        let docs = include_str!("../../../docs/metrics.md");
        let mut registry = Registry::default();
        register(
            &mut registry,
            &Figures { interval: Duration::from_millis(1500), ..Figures::default() },
        );
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        assert!(encoded.contains("mesh_agent_traffic_report_interval_seconds 1.5"), "{encoded}");
        let samples = encoded.lines().filter(|line| !line.starts_with('#'));
        let names = samples.filter_map(|line| line.split(['{', ' ']).next());
        for name in names {
            assert!(docs.contains(&format!("`{name}")), "{name}");
        }
    }
}
