//! What the agent tells about Envoy at `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ProxyState;
use super::course::{Counts, Standing};
use super::follow::Known;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabels {
    state: &'static str,
}

/// Adds them to a registry.
pub fn register(registry: &mut Registry, counts: Counts, known: &Known) {
    let services = Family::<WayLabels, Gauge>::default();
    for (state, count) in Standing::NAMES.into_iter().zip(counts) {
        services.get_or_create(&WayLabels { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register(
        "mesh_agent_proxy_services",
        "Services with rules for requests, by where their connections go",
        services,
    );
    let ready = known.state != ProxyState::Absent && known.error.is_empty();
    let up = Gauge::<i64>::default();
    up.set(i64::from(ready));
    registry.register("mesh_agent_proxy_ready", "Whether the node's Envoy is ready", up);
    let restarts = Counter::<u64>::default();
    restarts.inc_by(known.restarts);
    let help = "Times that the agent has started Envoy again because it had ended";
    registry.register("mesh_agent_proxy_restarts", help, restarts);
}
