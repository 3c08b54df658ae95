//! `ServiceConfig`: wire ⇄ model.

use std::collections::BTreeSet;
use std::time::Duration;

use super::resilience::{breaker, outlier, timeouts};
use super::{health, label_text, load_balancer, milliseconds, optional_label};
use crate::model::{
    Acceleration, Destination, Labels, Name, ObjectName, ServiceConfig, TrafficRule,
};
use crate::violation::{Fields, Reason};
use crate::wire;

/// Most traffic rules of a service.
const MAX_RULES: usize = 256;
/// Highest weight of a rule: 2^20.
const MAX_WEIGHT: u32 = 1 << 20;
/// Longest time that connections to a removed endpoint are given.
const MAX_DRAIN: Duration = Duration::from_hours(24);
/// Why a rule's `match` is refused.
const MATCH: &str = "not supported: the kernel sees connections, not requests; rules that look \
     into requests need an L7 proxy, which is not there yet: remove this field; connections are \
     shared out by weight";

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
    } = spec;
    let traffic_rules = rules(fields, &name, traffic_rules);
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

fn rules(
    fields: &mut Fields,
    name: &ObjectName,
    rules: Vec<wire::TrafficRule>,
) -> Vec<TrafficRule> {
    if rules.len() > MAX_RULES {
        let message = format!("{} rules: use at most {MAX_RULES}", rules.len());
        fields.invalid("spec.trafficRules", message);
    }
    let sum: u64 = rules.iter().map(|rule| u64::from(rule.weight)).sum();
    if sum == 0 && !rules.is_empty() {
        fields.invalid(
            "spec.trafficRules",
            "the weights add up to 0: give at least one rule a weight above 0",
        );
    }
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, rule) in rules.into_iter().take(MAX_RULES).enumerate() {
        let at = format!("spec.trafficRules[{index}]");
        let wire::TrafficRule { destination, weight, retries, timeout_ms, r#match } = rule;
        fields.unsupported(format!("{at}.retries"), retries.is_some(), timeouts::REQUESTS);
        fields.unsupported(format!("{at}.timeout"), timeout_ms.is_some(), timeouts::REQUESTS);
        fields.unsupported(format!("{at}.match"), r#match.is_some(), MATCH);
        if weight > MAX_WEIGHT {
            let message = format!("{weight} is too high: use 0 to {MAX_WEIGHT}");
            fields.invalid(format!("{at}.weight"), message);
        }
        let Some(destination) = destination_of(fields, &at, name, destination) else {
            continue;
        };
        if !seen.insert(destination.clone()) {
            let message = "an earlier rule has the same destination";
            fields.push(Reason::Duplicate, format!("{at}.destination"), message);
        }
        checked.push(TrafficRule { destination, weight });
    }
    checked
}

fn destination_of(
    fields: &mut Fields,
    at: &str,
    name: &ObjectName,
    destination: Option<wire::Destination>,
) -> Option<Destination> {
    let wire::Destination { service, version } = destination.unwrap_or_default();
    if service.is_empty() && version.is_empty() {
        fields.invalid(format!("{at}.destination"), "required: a version, a service, or both");
        return None;
    }
    let version_label = optional_label(fields, &format!("{at}.destination.version"), &version);
    if version_label.is_none() && !version.is_empty() {
        return None;
    }
    let service = if service.is_empty() {
        name.clone()
    } else {
        name.sibling(fields.check(&format!("{at}.destination.service"), service.parse::<Name>())?)
    };
    Some(Destination { service, version: version_label })
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
        } = config;
        let rule = |rule: &TrafficRule| {
            let own = rule.destination.service == *name && rule.destination.version.is_some();
            wire::TrafficRule {
                destination: Some(wire::Destination {
                    service: if own {
                        String::new()
                    } else {
                        rule.destination.service.name.to_string()
                    },
                    version: label_text(rule.destination.version.as_ref()),
                }),
                weight: rule.weight,
                ..wire::TrafficRule::default()
            }
        };
        let (timeouts, retry) = timeouts::to_wire(timeouts.as_deref().copied());
        let acceleration = match acceleration {
            Acceleration::Off => wire::Acceleration::Unspecified,
            Acceleration::On => wire::Acceleration::On,
            Acceleration::Auto => wire::Acceleration::Auto,
        };
        Self {
            traffic_rules: traffic_rules.iter().map(rule).collect(),
            load_balancer: load_balancer::to_wire(*load_balancer),
            circuit_breaker: circuit_breaker.as_deref().copied().map(breaker::to_wire),
            outlier_detection: outlier_detection.as_deref().copied().map(outlier::to_wire),
            health_check: health_check.as_deref().map(health::to_wire),
            timeouts,
            retry,
            drain_timeout_ms: drain_timeout.map(milliseconds),
            acceleration: acceleration.into(),
        }
    }
}
