//! What each kind of client makes of a policy: the kernel by way of the agent, Envoy, and gRPC
//! without a proxy. `table` says it for every feature; `docs/capabilities.md` is made from it, and
//! tests hold it against the translators. Pure.

mod table;
#[cfg(test)]
mod tests;

use mesh_api::model::{
    CircuitBreaker, HashKey, LoadBalancer, OutlierDetection, Policy, RequestLimits, RequestRule,
    Service, ServiceConfig, Thresholds, Timeouts, TrafficRule,
};

pub use self::table::{Feature, page};

/// Who follows a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The programs of a node's agent.
    Kernel,
    /// Envoy, told over xDS.
    Envoy,
    /// A gRPC program without a proxy, told over xDS.
    Grpc,
}

/// What a client makes of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// What is meant.
    Honoured,
    /// Something near it.
    Partly(&'static str),
    /// Nothing.
    Ignored(&'static str),
    /// It fails requests instead.
    Rejected(&'static str),
    /// The kernel sees no requests: it sends the connections to the node's Envoy.
    Redirected,
}

impl Support {
    /// Why it is less than what is meant; `None` where it is not.
    #[must_use]
    pub const fn lack(self) -> Option<&'static str> {
        match self {
            Self::Ignored(why) | Self::Rejected(why) => Some(why),
            Self::Honoured | Self::Partly(_) | Self::Redirected => None,
        }
    }
}

/// A field that a client does not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Path in its object.
    pub field: String,
    /// Why.
    pub why: &'static str,
}

/// What of this a client does not follow, in the order of the fields; what it does nearly is none.
#[must_use]
pub fn gaps(service: &Service, config: &ServiceConfig, client: Client) -> Vec<Gap> {
    let gap = |(field, feature): (String, Feature)| {
        let why = feature.support(client).lack()?;
        Some(Gap { field, why })
    };
    features(service, config).into_iter().filter_map(gap).collect()
}

/// Every feature that is used, with the path of its field. What has a default is used where it
/// differs.
fn features(service: &Service, config: &ServiceConfig) -> Vec<(String, Feature)> {
    // Without `..`: a new field does not compile before somebody has decided about it.
    let ServiceConfig {
        name: _,
        labels: _,
        traffic_rules,
        load_balancer,
        drain_timeout,
        circuit_breaker,
        outlier_detection,
        health_check,
        timeouts: socket_timeouts,
        acceleration,
        on_no_proxy: _,
        proxy_ports: _,
    } = config;
    let mut found = Vec::new();
    for (n, rule) in traffic_rules.iter().enumerate() {
        of_rule(&format!("spec.trafficRules[{n}]"), rule, &mut found);
    }
    let mut add = |used: bool, field: &str, feature| {
        if used {
            found.push((format!("spec.{field}"), feature));
        }
    };
    add(service.session_affinity.is_some(), "sessionAffinity", Feature::SessionAffinity);
    balancer(load_balancer, &mut add);
    add(drain_timeout.is_some(), "drainTimeout", Feature::DrainTimeout);
    if let Some(breaker) = circuit_breaker {
        of_breaker(breaker, &mut add);
    }
    if let Some(outlier) = outlier_detection {
        of_outlier(outlier, &mut add);
    }
    add(health_check.is_some(), "healthCheck", Feature::HealthCheck);
    if let Some(timeouts) = socket_timeouts {
        let Timeouts { connect, idle, retry, request } = &**timeouts;
        add(connect.is_some(), "timeouts.connect", Feature::ConnectTimeout);
        add(idle.is_some(), "timeouts.idle", Feature::IdleTimeout);
        add(request.is_some(), "timeouts.request", Feature::RequestTimeout);
        add(retry.is_some(), "retry", Feature::ConnectRetry);
    }
    add(*acceleration != mesh_api::model::Acceleration::Off, "acceleration", Feature::Acceleration);
    found
}

fn balancer(balancer: &LoadBalancer, add: &mut impl FnMut(bool, &str, Feature)) {
    let LoadBalancer { policy, hash_key, locality, slow_start, panic_threshold } = balancer;
    match policy {
        // Also where nothing is said.
        Policy::Random => {}
        Policy::RoundRobin => add(true, "loadBalancer.policy", Feature::RoundRobin),
        Policy::LeastConnections => add(true, "loadBalancer.policy", Feature::LeastConnections),
        Policy::Maglev => add(true, "loadBalancer.policy", Feature::Maglev),
    }
    add(*hash_key != HashKey::default(), "loadBalancer.hashKey", Feature::HashKey);
    add(locality.is_some(), "loadBalancer.locality", Feature::Locality);
    add(slow_start.is_some(), "loadBalancer.slowStart", Feature::SlowStart);
    add(*panic_threshold != 0, "loadBalancer.panicThreshold", Feature::PanicThreshold);
}

fn of_breaker(breaker: &CircuitBreaker, add: &mut impl FnMut(bool, &str, Feature)) {
    let CircuitBreaker { service, endpoint, requests } = breaker;
    let Thresholds { max_connections, max_pending_connections, breaker } = service;
    add(max_connections.is_some(), "circuitBreaker.maxConnections", Feature::MaxConnections);
    let pending = "circuitBreaker.maxPendingConnections";
    add(max_pending_connections.is_some(), pending, Feature::MaxPending);
    add(breaker.is_some(), "circuitBreaker.maxFailures", Feature::Breaker);
    let Thresholds { max_connections, max_pending_connections, breaker } = endpoint;
    let most = "circuitBreaker.perEndpoint.maxConnections";
    add(max_connections.is_some(), most, Feature::EndpointMaxConnections);
    let pending = "circuitBreaker.perEndpoint.maxPendingConnections";
    add(max_pending_connections.is_some(), pending, Feature::MaxPending);
    add(breaker.is_some(), "circuitBreaker.perEndpoint.maxFailures", Feature::Breaker);
    let Some(RequestLimits { max_requests, max_pending_requests, max_retries }) = requests else {
        return;
    };
    let field = |name: &str| format!("circuitBreaker.requests.{name}");
    add(max_requests.is_some(), &field("maxRequests"), Feature::MaxRequests);
    add(max_pending_requests.is_some(), &field("maxPendingRequests"), Feature::MaxPendingRequests);
    add(max_retries.is_some(), &field("maxRetries"), Feature::MaxRetries);
}

fn of_outlier(outlier: &OutlierDetection, add: &mut impl FnMut(bool, &str, Feature)) {
    let OutlierDetection {
        consecutive_failures,
        // How the others go about it.
        interval: _,
        base_ejection_time: _,
        max_ejection_time: _,
        max_ejection_percent: _,
        failure_percentage,
        minimum_connections: _,
        consecutive_5xx,
        consecutive_gateway_errors,
    } = outlier;
    let mut of = |used, name: &str, feature| {
        add(used, &format!("outlierDetection.{name}"), feature);
    };
    of(consecutive_failures.is_some(), "consecutiveFailures", Feature::ConsecutiveFailures);
    of(failure_percentage.is_some(), "failurePercentage", Feature::FailurePercentage);
    of(consecutive_5xx.is_some(), "consecutive5xx", Feature::ConsecutiveErrors);
    let gateway = consecutive_gateway_errors.is_some();
    of(gateway, "consecutiveGatewayErrors", Feature::ConsecutiveErrors);
}

fn of_rule(at: &str, rule: &TrafficRule, found: &mut Vec<(String, Feature)>) {
    let TrafficRule { destination: _, weight: _, request } = rule;
    let mut add = |used: bool, name: &str, feature| {
        if used {
            found.push((format!("{at}{name}"), feature));
        }
    };
    add(true, "", Feature::Split);
    let Some(request) = request else { return };
    let RequestRule { matches, retries, timeout, mirror, fault, redirect, rewrite } = &**request;
    if let Some(matches) = matches {
        add(matches.path.is_some(), ".match.path", Feature::MatchPath);
        add(!matches.headers.is_empty(), ".match.headers", Feature::MatchHeaders);
        add(matches.method.is_some(), ".match.method", Feature::MatchMethod);
        add(matches.grpc.is_some(), ".match.grpc", Feature::MatchGrpc);
    }
    if let Some(retries) = retries {
        add(true, ".retries", Feature::Retries);
        add(retries.per_try_timeout.is_some(), ".retries.perTryTimeout", Feature::PerTryTimeout);
    }
    add(timeout.is_some(), ".timeout", Feature::RequestTimeout);
    add(mirror.is_some(), ".mirror", Feature::Mirror);
    add(fault.is_some(), ".fault", Feature::Fault);
    add(redirect.is_some(), ".redirect", Feature::Redirect);
    add(rewrite.is_some(), ".rewrite", Feature::Rewrite);
}
