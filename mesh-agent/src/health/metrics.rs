//! What the agent tells about its checks at `/metrics`.

use mesh_api::model::{Health, ObjectName};
use mesh_health::checker::{Handle, Status};
use mesh_health::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    namespace: String,
    endpoint: String,
}

/// Where the figures come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Knows the state of all.
    pub handle: Handle,
    /// What is counted.
    pub metrics: Metrics,
}

/// The figures of a moment.
#[derive(Debug)]
pub struct Figures {
    metrics: Metrics,
    statuses: Vec<(ObjectName, Status)>,
}

impl Source {
    /// Gathers them.
    pub async fn figures(&self) -> Figures {
        Figures::new(self.metrics.clone(), self.handle.statuses().await)
    }
}

impl Figures {
    /// Puts them together: what is counted, and the state of each endpoint.
    #[must_use]
    pub const fn new(metrics: Metrics, statuses: Vec<(ObjectName, Status)>) -> Self {
        Self { metrics, statuses }
    }
}

/// Adds them to a registry.
pub fn register(registry: &mut Registry, figures: &Figures) {
    figures.metrics.register(registry, "mesh_agent");
    let healthy = Family::<EndpointLabels, Gauge>::default();
    for (name, status) in &figures.statuses {
        let Some(health) = status.health else { continue };
        let labels = EndpointLabels {
            namespace: name.namespace.to_string(),
            endpoint: name.name.to_string(),
        };
        healthy.get_or_create(&labels).set(i64::from(health == Health::Healthy));
    }
    registry.register(
        "mesh_agent_endpoint_healthy",
        "1 where this node's checks find an endpoint of it healthy",
        healthy,
    );
}
