//! `ServiceConfig`: wire ⇄ model.

use std::collections::BTreeMap;
use std::time::Duration;

use super::resilience::{breaker, outlier, timeouts};
use super::{health, load_balancer, milliseconds, routing};
use crate::model::{Acceleration, Labels, Name, ObjectName, OnNoProxy, Port, ServiceConfig};
use crate::violation::Fields;
use crate::wire;

/// Longest time that connections to a removed endpoint are given.
const MAX_DRAIN: Duration = Duration::from_hours(24);
pub(super) fn from_wire(
    fields: &mut Fields,
    name: ObjectName,
    labels: Labels,
    spec: wire::ServiceConfig,
) -> ServiceConfig {
    let wire::ServiceConfig {
        traffic_rules,
        load_balancer: balancer,
        circuit_breaker,
        outlier_detection,
        health_check,
        timeouts: socket_timeouts,
        retry,
        drain_timeout_ms,
        acceleration: value,
        on_no_proxy: without_proxy,
        proxy_ports,
    } = spec;
    let traffic_rules = routing::from_wire(fields, &name, traffic_rules);
    let load_balancer =
        balancer.map(|balancer| load_balancer::from_wire(fields, &balancer)).unwrap_or_default();
    let drain_timeout = drain_timeout_ms.map(Duration::from_millis);
    if drain_timeout.is_some_and(|timeout| timeout > MAX_DRAIN) {
        fields.invalid("spec.drainTimeout", "out of range: use 0s to 24h, or leave it out");
    }
    ServiceConfig {
        name,
        labels,
        traffic_rules,
        load_balancer,
        drain_timeout,
        circuit_breaker: circuit_breaker.map(|spec| Box::new(breaker::from_wire(fields, spec))),
        outlier_detection: outlier_detection.map(|spec| Box::new(outlier::from_wire(fields, spec))),
        health_check: health_check.and_then(|spec| health::from_wire(fields, spec)),
        timeouts: timeouts::from_wire(fields, socket_timeouts, retry),
        acceleration: acceleration(fields, value),
        on_no_proxy: on_no_proxy(fields, without_proxy),
        proxy_ports: listeners(&proxy_ports),
    }
}

fn acceleration(fields: &mut Fields, value: i32) -> Acceleration {
    const AT: &str = "spec.acceleration";
    let value = fields.check(AT, wire::Acceleration::try_from(value)).unwrap_or_default();
    match value {
        wire::Acceleration::On => Acceleration::On,
        wire::Acceleration::Auto => Acceleration::Auto,
        wire::Acceleration::Unspecified | wire::Acceleration::Off => Acceleration::Off,
    }
}

/// Where the node's Envoy listens. Written by the control plane: what is out of range is left out.
fn listeners(ports: &BTreeMap<String, u32>) -> BTreeMap<Name, Port> {
    let listener = |(name, port): (&String, &u32)| {
        let port = Port::try_from(*port).ok()?;
        Some((name.parse().ok()?, port))
    };
    ports.iter().filter_map(listener).collect()
}

fn on_no_proxy(fields: &mut Fields, value: i32) -> OnNoProxy {
    let value = fields.check("spec.onNoProxy", wire::OnNoProxy::try_from(value));
    match value.unwrap_or_default() {
        wire::OnNoProxy::Refuse => OnNoProxy::Refuse,
        wire::OnNoProxy::Unspecified | wire::OnNoProxy::Bypass => OnNoProxy::Bypass,
    }
}

impl From<&ServiceConfig> for wire::ServiceConfig {
    fn from(config: &ServiceConfig) -> Self {
        let ServiceConfig {
            name,
            labels: _,
            traffic_rules,
            load_balancer,
            drain_timeout,
            circuit_breaker,
            outlier_detection,
            health_check,
            timeouts,
            acceleration,
            on_no_proxy,
            proxy_ports,
        } = config;
        let (timeouts, retry) = timeouts::to_wire(timeouts.as_deref().copied());
        let acceleration = match acceleration {
            Acceleration::Off => wire::Acceleration::Unspecified,
            Acceleration::On => wire::Acceleration::On,
            Acceleration::Auto => wire::Acceleration::Auto,
        };
        let on_no_proxy = match on_no_proxy {
            OnNoProxy::Bypass => wire::OnNoProxy::Unspecified,
            OnNoProxy::Refuse => wire::OnNoProxy::Refuse,
        };
        Self {
            traffic_rules: traffic_rules.iter().map(|rule| routing::to_wire(name, rule)).collect(),
            load_balancer: load_balancer::to_wire(*load_balancer),
            circuit_breaker: circuit_breaker.as_deref().copied().map(breaker::to_wire),
            outlier_detection: outlier_detection.as_deref().copied().map(outlier::to_wire),
            health_check: health_check.as_deref().map(health::to_wire),
            timeouts,
            retry,
            drain_timeout_ms: drain_timeout.map(milliseconds),
            acceleration: acceleration.into(),
            on_no_proxy: on_no_proxy.into(),
            proxy_ports: proxy_ports
                .iter()
                .map(|(name, port)| (name.to_string(), port.get().into()))
                .collect(),
        }
    }
}
