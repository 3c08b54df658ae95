//! What checks count. The binaries register it under their own prefix.

use std::time::Duration;

use mesh_api::model::Probe;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::probe::{Kind, Outcome};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SkipLabels {
    reason: &'static str,
}

/// Counters of one checker; copies count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    probes: Family<ProbeLabels, Counter>,
    duration: Histogram,
    lateness: Histogram,
    skipped: Family<SkipLabels, Counter>,
    targets: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            probes: Family::default(),
            // 100 us to 13 s.
            duration: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            // 250 us to 4 s.
            lateness: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            skipped: Family::default(),
            targets: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds them to a registry; names begin with `prefix`, such as `mesh_agent`.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        // A series that is not there yet cannot be told from one that is misspelt.
        for protocol in ["tcp", "http", "grpc"] {
            let results = Kind::ALL.iter().map(|kind| kind.as_str()).chain(["success"]);
            for result in results {
                self.probes.get_or_create_owned(&ProbeLabels { protocol, result });
            }
        }
        for reason in ["busy", "late"] {
            self.skipped.get_or_create_owned(&SkipLabels { reason });
        }
        let name = |name| format!("{prefix}_{name}");
        registry.register(name("probes"), "Health checks by what came out", self.probes.clone());
        registry.register_with_unit(
            name("probe_duration"),
            "Time until a health check was answered or given up",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            name("probe_lateness"),
            "Time from when a health check was due until it began",
            Unit::Seconds,
            self.lateness.clone(),
        );
        registry.register(
            name("probes_skipped"),
            "Health checks that were left out, by why",
            self.skipped.clone(),
        );
        registry.register(
            name("probe_targets"),
            "Endpoints that are checked",
            self.targets.clone(),
        );
    }

    pub(crate) fn probed(&self, probe: &Probe, outcome: &Outcome) {
        let protocol = match probe {
            Probe::Tcp => "tcp",
            Probe::Http(_) => "http",
            Probe::Grpc { .. } => "grpc",
        };
        let result = outcome.result.as_ref().map_or_else(|f| f.kind().as_str(), |()| "success");
        self.probes.get_or_create(&ProbeLabels { protocol, result }).inc();
        let counts = outcome.result.as_ref().map_or_else(|f| f.kind() != Kind::Local, |()| true);
        if counts {
            self.duration.observe(outcome.latency.as_secs_f64());
        }
    }

    pub(crate) fn begun(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }

    pub(crate) fn skipped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.skipped.get_or_create(&SkipLabels { reason }).inc_by(count);
        }
    }

    pub(crate) fn targets(&self, count: usize) {
        self.targets.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
