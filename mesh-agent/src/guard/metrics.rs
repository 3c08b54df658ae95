//! The numbers about guards as Prometheus metrics; docs/metrics.md lists them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::states::Phase;
use super::stats::Stats;
use super::tally::Port;
use crate::figure::signed;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    namespace: String,
    service: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    namespace: String,
    service: String,
    port: u16,
    endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    namespace: String,
    service: String,
    port: u16,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToLabels {
    to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

fn service((name, port): &Port) -> ServiceLabels {
    let (namespace, service) = (name.namespace.to_string(), name.name.to_string());
    ServiceLabels { namespace, service, port: *port }
}

fn of_endpoint(port: &Port, endpoint: String) -> EndpointLabels {
    let ServiceLabels { namespace, service, port } = service(port);
    EndpointLabels { namespace, service, port, endpoint }
}

/// Adds all of them.
pub fn register(registry: &mut Registry, stats: &Stats) {
    breakers(registry, stats);
    connections(registry, stats);
    let repairs = Family::<KindLabels, Counter>::default();
    for (kind, count) in stats.repairs.kinds() {
        repairs.get_or_create(&KindLabels { kind }).inc_by(count);
    }
    registry.register(
        "mesh_agent_guard_repairs",
        "Times something that the programs keep about guards was put right",
        repairs,
    );
    let leaked: Counter = Counter::default();
    leaked.inc_by(stats.repairs.records);
    registry.register(
        "mesh_agent_leaked_connections",
        "Connections whose end no program saw, found and taken out of the counts",
        leaked,
    );
}

fn breakers(registry: &mut Registry, stats: &Stats) {
    let phases = Family::<EndpointLabels, Gauge>::default();
    for ((port, endpoint), phase) in &stats.breakers {
        let number = match phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
        };
        phases.get_or_create(&of_endpoint(port, endpoint.clone())).set(number);
    }
    registry.register(
        "mesh_agent_breaker_state",
        "0 closed, 1 open, 2 half-open; breakers that were never open are left out",
        phases,
    );
    let transitions = Family::<ToLabels, Counter>::default();
    let counts = &stats.counts;
    for (to, count) in
        [("open", counts.open), ("half_open", counts.half_open), ("closed", counts.closed)]
    {
        transitions.get_or_create(&ToLabels { to }).inc_by(count);
    }
    registry.register("mesh_agent_breaker_transitions", "Changes of breakers", transitions);
    let ejections: Counter = Counter::default();
    ejections.inc_by(counts.ejections);
    registry.register("mesh_agent_ejections", "Ejections of endpoints", ejections);
    let ejected: Gauge = Gauge::default();
    ejected.set(signed(stats.ejected));
    registry.register("mesh_agent_ejected_endpoints", "Endpoints that are ejected now", ejected);
}

fn connections(registry: &mut Registry, stats: &Stats) {
    let all = Family::<ServiceLabels, Gauge>::default();
    let pending = Family::<ServiceLabels, Gauge>::default();
    for (port, (active, unestablished)) in &stats.loads {
        all.get_or_create(&service(port)).set(signed(*active));
        pending.get_or_create(&service(port)).set(signed(*unestablished));
    }
    registry.register(
        "mesh_agent_guard_connections",
        "Connections of this node to services with limits or breakers",
        all,
    );
    registry.register(
        "mesh_agent_guard_pending_connections",
        "Those of them that are not established yet",
        pending,
    );
    let refused = Family::<RefusedLabels, Counter>::default();
    for (at, counts) in &stats.refused {
        let reasons = [
            ("open", counts.open),
            ("connections", counts.connections),
            ("pending", counts.pending),
            ("backends", counts.backends),
        ];
        for (reason, count) in reasons {
            let ServiceLabels { namespace, service, port } = service(at);
            let labels = RefusedLabels { namespace, service, port, reason };
            refused.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register(
        "mesh_agent_guard_refused",
        "Connections refused because of limits and breakers",
        refused,
    );
    let skipped = Family::<EndpointLabels, Counter>::default();
    for ((port, endpoint), count) in &stats.skipped {
        skipped.get_or_create(&of_endpoint(port, endpoint.to_string())).inc_by(*count);
    }
    registry.register(
        "mesh_agent_guard_skipped",
        "Times an endpoint was asked for a place and had none",
        skipped,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::guard::tally::Refused;

    #[test]
    fn each_has_its_place() {
        let port: Port = ("default/web".parse().unwrap(), 80);
        let mut stats = Stats::default();
        stats.breakers.insert((port.clone(), "one".to_owned()), Phase::HalfOpen);
        stats.loads.insert(port.clone(), (3, 1));
        stats.refused.insert(port.clone(), Refused { pending: 4, ..Refused::default() });
        stats.skipped.insert((port, "one".parse().unwrap()), 5);
        let mut registry = Registry::default();
        register(&mut registry, &stats);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        let labels = "namespace=\"default\",service=\"web\",port=\"80\"";
        for line in [
            format!("mesh_agent_breaker_state{{{labels},endpoint=\"one\"}} 2"),
            format!("mesh_agent_guard_connections{{{labels}}} 3"),
            format!("mesh_agent_guard_pending_connections{{{labels}}} 1"),
            format!("mesh_agent_guard_refused_total{{{labels},reason=\"pending\"}} 4"),
            format!("mesh_agent_guard_refused_total{{{labels},reason=\"open\"}} 0"),
            format!("mesh_agent_guard_skipped_total{{{labels},endpoint=\"one\"}} 5"),
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
    }
}
