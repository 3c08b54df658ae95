//! Limits and circuit breakers: wire ⇄ model.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::convert::bounds::{duration, optional, or};
use crate::convert::milliseconds;
use crate::model::{Breaker, CircuitBreaker, RequestLimits, Thresholds};
use crate::violation::Fields;
use crate::wire;

/// Any number of connections but none.
const CONNECTIONS: RangeInclusive<u32> = 1..=u32::MAX;
/// What a breaker can count, both failures and trials.
const COUNT: RangeInclusive<u32> = 1..=1023;
const WINDOW: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const DEFAULT_WINDOW: Duration = Duration::from_secs(10);
const RESET: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
const DEFAULT_RESET: Duration = Duration::from_secs(30);
const DEFAULT_TRIALS: u32 = 1;

pub(in crate::convert) fn from_wire(
    fields: &mut Fields,
    spec: wire::CircuitBreaker,
) -> CircuitBreaker {
    const AT: &str = "spec.circuitBreaker";
    let wire::CircuitBreaker {
        max_connections,
        max_failures,
        window_ms,
        reset_timeout_ms,
        max_pending_connections,
        trial_connections,
        per_endpoint,
        requests,
    } = spec;
    if spec == wire::CircuitBreaker::default() {
        let message = "nothing in it: give maxConnections, maxPendingConnections, maxFailures or \
                       perEndpoint, or remove circuitBreaker";
        fields.invalid(AT, message);
    }
    let service = wire::CircuitBreakerThresholds {
        max_connections,
        max_failures,
        window_ms,
        reset_timeout_ms,
        max_pending_connections,
        trial_connections,
    };
    let service = thresholds(fields, AT, service);
    let at = format!("{AT}.perEndpoint");
    if per_endpoint == Some(wire::CircuitBreakerThresholds::default()) {
        let message = "nothing in it: give maxConnections, maxPendingConnections or maxFailures, \
                       or remove perEndpoint";
        fields.invalid(&at, message);
    }
    let endpoint = thresholds(fields, &at, per_endpoint.unwrap_or_default());
    for (name, one, all) in [
        ("maxConnections", endpoint.max_connections, service.max_connections),
        (
            "maxPendingConnections",
            endpoint.max_pending_connections,
            service.max_pending_connections,
        ),
    ] {
        if let (Some(one), Some(all)) = (one, all)
            && one > all
        {
            let message = format!("{one} is above the {all} of {AT}.{name}: use 1 to {all}");
            fields.invalid(format!("{at}.{name}"), message);
        }
    }
    let requests = requests.map(|spec| self::requests(fields, &format!("{AT}.requests"), spec));
    CircuitBreaker { service, endpoint, requests }
}

fn requests(fields: &mut Fields, at: &str, spec: wire::RequestLimits) -> RequestLimits {
    if spec == wire::RequestLimits::default() {
        let message = "nothing in it: give maxRequests, maxPendingRequests or maxRetries, or \
                       remove requests";
        fields.invalid(at, message);
    }
    let mut limit =
        |name: &str, value| optional(fields, &format!("{at}.{name}"), value, &CONNECTIONS);
    RequestLimits {
        max_requests: limit("maxRequests", spec.max_requests),
        max_pending_requests: limit("maxPendingRequests", spec.max_pending_requests),
        max_retries: limit("maxRetries", spec.max_retries),
    }
}

fn thresholds(fields: &mut Fields, at: &str, spec: wire::CircuitBreakerThresholds) -> Thresholds {
    let field = |name: &str| format!("{at}.{name}");
    let max_connections =
        optional(fields, &field("maxConnections"), spec.max_connections, &CONNECTIONS);
    let at_pending = field("maxPendingConnections");
    let max_pending_connections =
        optional(fields, &at_pending, spec.max_pending_connections, &CONNECTIONS);
    if let (Some(pending), Some(all)) = (max_pending_connections, max_connections)
        && pending > all
    {
        let message = format!("{pending} is above maxConnections, which is {all}: use 1 to {all}");
        fields.invalid(at_pending, message);
    }
    let max_failures = optional(fields, &field("maxFailures"), spec.max_failures, &COUNT);
    let window = or(fields, &field("window"), duration(spec.window_ms), &WINDOW, DEFAULT_WINDOW);
    let reset = duration(spec.reset_timeout_ms);
    let reset_timeout = or(fields, &field("resetTimeout"), reset, &RESET, DEFAULT_RESET);
    let at_trials = field("trialConnections");
    let trials = or(fields, &at_trials, spec.trial_connections, &COUNT, DEFAULT_TRIALS);
    if spec.max_failures.is_none() {
        let alone = [
            ("window", spec.window_ms.is_some()),
            ("resetTimeout", spec.reset_timeout_ms.is_some()),
            ("trialConnections", spec.trial_connections.is_some()),
        ];
        let alone: Vec<&str> =
            alone.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if !alone.is_empty() {
            let alone = alone.join(", ");
            let message = format!(
                "required with {alone}: how many failed connections open the breaker, 1 to 1023"
            );
            fields.invalid(field("maxFailures"), message);
        }
    }
    let breaker = max_failures.map(|max_failures| Breaker {
        max_failures,
        window: window.unwrap_or(DEFAULT_WINDOW),
        reset_timeout: reset_timeout.unwrap_or(DEFAULT_RESET),
        trial_connections: trials.unwrap_or(DEFAULT_TRIALS),
    });
    Thresholds { max_connections, max_pending_connections, breaker }
}

pub(in crate::convert) fn to_wire(breaker: CircuitBreaker) -> wire::CircuitBreaker {
    let CircuitBreaker { service, endpoint, requests } = breaker;
    let per_endpoint = (endpoint != Thresholds::default()).then(|| thresholds_to_wire(endpoint));
    let wire::CircuitBreakerThresholds {
        max_connections,
        max_failures,
        window_ms,
        reset_timeout_ms,
        max_pending_connections,
        trial_connections,
    } = thresholds_to_wire(service);
    wire::CircuitBreaker {
        max_connections,
        max_failures,
        window_ms,
        reset_timeout_ms,
        max_pending_connections,
        trial_connections,
        per_endpoint,
        requests: requests.map(|limits| wire::RequestLimits {
            max_requests: limits.max_requests,
            max_pending_requests: limits.max_pending_requests,
            max_retries: limits.max_retries,
        }),
    }
}

fn thresholds_to_wire(thresholds: Thresholds) -> wire::CircuitBreakerThresholds {
    let Thresholds { max_connections, max_pending_connections, breaker } = thresholds;
    wire::CircuitBreakerThresholds {
        max_connections,
        max_failures: breaker.map(|it| it.max_failures),
        window_ms: breaker.map(|it| milliseconds(it.window)),
        reset_timeout_ms: breaker.map(|it| milliseconds(it.reset_timeout)),
        max_pending_connections,
        trial_connections: breaker.map(|it| it.trial_connections),
    }
}
