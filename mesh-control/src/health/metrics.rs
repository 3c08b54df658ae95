//! Numbers about the health of endpoints.

use mesh_api::model::Health;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::aggregate::Counts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthLabel {
    health: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToLabel {
    to: &'static str,
}

/// The name of a status; `None`: unknown.
#[must_use]
pub const fn name_of(status: Option<Health>) -> &'static str {
    match status {
        Some(Health::Healthy) => "healthy",
        Some(Health::Unhealthy) => "unhealthy",
        None => "unknown",
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct HealthMetrics {
    endpoints: Family<HealthLabel, Gauge>,
    transitions: Family<ToLabel, Counter>,
    /// Reports of agents taken in.
    pub reports: Counter,
    /// Reports of agents refused.
    pub reports_refused: Counter,
    conflicts: Gauge,
    held: Gauge,
    agents: Gauge,
    /// Times an agent was taken for gone.
    pub agents_gone: Counter,
    /// What the control plane's own checks count.
    pub probes: mesh_health::metrics::Metrics,
}

impl HealthMetrics {
    /// Adds them to a registry, at zero.
    pub fn register(&self, to: &mut Registry) {
        self.observe(Counts::default(), 0);
        for status in [Some(Health::Healthy), Some(Health::Unhealthy), None] {
            self.transitions.get_or_create_owned(&ToLabel { to: name_of(status) });
        }
        let it = self.endpoints.clone();
        to.register("mesh_control_endpoints", "Endpoints that are checked, by health", it);
        let it = self.transitions.clone();
        to.register("mesh_control_health_transitions", "Published changes of health", it);
        let it = self.reports.clone();
        to.register("mesh_control_health_reports", "Reports of agents on health", it);
        let it = self.reports_refused.clone();
        to.register("mesh_control_health_reports_refused", "Reports of agents refused", it);
        let it = self.conflicts.clone();
        let help = "Endpoints that somebody reports another status of";
        to.register("mesh_control_health_conflicts", help, it);
        let it = self.held.clone();
        let help = "Endpoints taken for unhealthy because they change too often";
        to.register("mesh_control_health_held", help, it);
        let it = self.agents.clone();
        to.register("mesh_control_agents", "Agents that report health", it);
        let it = self.agents_gone.clone();
        to.register("mesh_control_agents_gone", "Times an agent stopped to report health", it);
        self.probes.register(to, "mesh_control");
    }

    /// Takes over how many endpoints there are of each sort, and how many agents.
    pub fn observe(&self, counts: Counts, agents: usize) {
        let set = |gauge: &Gauge, count| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        for (status, count) in [
            (Some(Health::Healthy), counts.healthy),
            (Some(Health::Unhealthy), counts.unhealthy),
            (None, counts.unknown),
        ] {
            let label = HealthLabel { health: name_of(status) };
            set(&self.endpoints.get_or_create_owned(&label), count);
        }
        set(&self.conflicts, counts.conflicts);
        set(&self.held, counts.held);
        set(&self.agents, agents);
    }

    /// Counts a published change.
    pub fn moved(&self, to: Option<Health>) {
        self.transitions.get_or_create_owned(&ToLabel { to: name_of(to) }).inc();
    }
}
