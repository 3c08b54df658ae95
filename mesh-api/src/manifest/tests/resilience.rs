//! Any health check, breaker, outlier detection, timeouts and retry that keep all rules, and how
//! they are written.

use proptest::prelude::{Strategy, prop, prop_oneof};

use super::{CONFIG, accepted};
use crate::manifest::to_yaml;
use crate::model::Object;
use crate::wire;

/// A config with nothing else.
pub(super) fn specs() -> impl Strategy<Value = wire::ServiceConfig> {
    // Boxed, because a tree of them all is large for a test's stack.
    let breaker = prop::option::of(breaker()).boxed();
    let outlier = prop::option::of(outlier()).boxed();
    let health = prop::option::of(health()).boxed();
    (breaker, outlier, health, timeouts().boxed()).prop_map(
        |(circuit_breaker, outlier_detection, health_check, (timeouts, retry))| {
            wire::ServiceConfig {
                circuit_breaker,
                outlier_detection,
                health_check,
                timeouts,
                retry,
                ..wire::ServiceConfig::default()
            }
        },
    )
}

/// Limits below `limit`, which are not below half of it.
fn thresholds(limit: u32) -> impl Strategy<Value = wire::CircuitBreakerThresholds> {
    let max = prop::option::of(limit * 3 / 4..=limit);
    let pending = prop::option::of(limit / 2..=limit * 3 / 4);
    let times = (prop::option::of(100..3_600_001_u64), prop::option::of(10..3_600_001_u64));
    let breaker = prop::option::of((1..1024_u32, times, prop::option::of(1..1024_u32)));
    (max, pending, breaker)
        .prop_map(|(max_connections, max_pending_connections, breaker)| {
            let limits = wire::CircuitBreakerThresholds {
                max_connections,
                max_pending_connections,
                ..wire::CircuitBreakerThresholds::default()
            };
            match breaker {
                None => limits,
                Some((max_failures, (window_ms, reset_timeout_ms), trial_connections)) => {
                    wire::CircuitBreakerThresholds {
                        max_failures: Some(max_failures),
                        window_ms,
                        reset_timeout_ms,
                        trial_connections,
                        ..limits
                    }
                }
            }
        })
        .prop_filter("nothing in it", |it| *it != wire::CircuitBreakerThresholds::default())
}

fn breaker() -> impl Strategy<Value = wire::CircuitBreaker> {
    let both = (thresholds(1000), prop::option::of(thresholds(100)));
    both.prop_map(|(service, per_endpoint)| wire::CircuitBreaker {
        max_connections: service.max_connections,
        max_failures: service.max_failures,
        window_ms: service.window_ms,
        reset_timeout_ms: service.reset_timeout_ms,
        max_pending_connections: service.max_pending_connections,
        trial_connections: service.trial_connections,
        per_endpoint,
        requests: None,
    })
}

fn outlier() -> impl Strategy<Value = wire::OutlierDetection> {
    let looked_at = prop_oneof![
        (prop::option::of(1..4096_u32), 0..101_u32),
        (prop::option::of(0..4096_u32), 1..101_u32)
    ];
    let base = prop::option::of(10..1_000_000_u64);
    let max = prop::option::of(1_000_000..86_400_001_u64);
    let rest = (
        prop::option::of(100..3_600_001_u64),
        prop::option::of(0..101_u32),
        prop::option::of(1..=u32::MAX),
    );
    (looked_at, base, max, rest).prop_map(
        |(
            (consecutive_failures, failure_percentage),
            base_ejection_time_ms,
            max_ejection_time_ms,
            (interval_ms, max_ejection_percent, minimum_connections),
        )| wire::OutlierDetection {
            consecutive_failures,
            interval_ms,
            base_ejection_time_ms,
            max_ejection_percent,
            max_ejection_time_ms,
            failure_percentage,
            minimum_connections,
            ..wire::OutlierDetection::default()
        },
    )
}

fn health() -> impl Strategy<Value = wire::HealthCheck> {
    let status = (200..600_u32, 200..600_u32).prop_map(|(a, b)| match a.cmp(&b) {
        std::cmp::Ordering::Equal => a.to_string(),
        std::cmp::Ordering::Less => format!("{a}-{b}"),
        std::cmp::Ordering::Greater => format!("{b}-{a}"),
    });
    // "/" alone is the default of the first, "" is that of all.
    let http = (
        "|/[a-z%/?=&:@!$'()*+,;._~-]{0,40}",
        "|[a-zA-Z0-9._:-]{1,40}",
        prop::collection::vec(status, 0..4),
    )
        .prop_map(|(path, host, statuses)| wire::HttpCheck { path, host, statuses });
    let none = wire::HealthCheck::default;
    let probe = prop_oneof![
        prop::strategy::Just(wire::HealthCheck { tcp: Some(wire::TcpCheck {}), ..none() }),
        http.prop_map(move |http| wire::HealthCheck { http: Some(http), ..none() }),
        "[!-~]{0,40}".prop_map(move |service| wire::HealthCheck {
            grpc: Some(wire::GrpcCheck { service }),
            ..none()
        }),
    ];
    let times = (50..3_600_001_u64)
        .prop_flat_map(|interval| (prop::option::of(10..=interval), prop::strategy::Just(interval)))
        .prop_map(|(timeout, interval)| (Some(interval), timeout));
    let times = prop_oneof![times, (prop::strategy::Just(None), prop::option::of(10..10_001_u64))];
    let thresholds = (prop::option::of(1..101_u32), prop::option::of(1..101_u32));
    let rest = (0..3_i32, prop::option::of(1..65536_u32), prop::option::of(0..51_u32));
    (probe, times, thresholds, rest).prop_map(
        |(
            probe,
            (interval_ms, timeout_ms),
            (healthy_threshold, unhealthy_threshold),
            (initial_state, port, jitter_percent),
        )| wire::HealthCheck {
            interval_ms,
            timeout_ms,
            healthy_threshold,
            unhealthy_threshold,
            initial_state,
            port,
            jitter_percent,
            ..probe
        },
    )
}

fn timeouts() -> impl Strategy<Value = (Option<wire::Timeouts>, Option<wire::Retry>)> {
    // No try is longer than the whole.
    let connect = prop::option::of(60_000..600_001_u64);
    let timeouts = (connect, prop::option::of(2000..86_400_001_u64))
        .prop_map(|(connect_ms, idle_ms)| wire::Timeouts { connect_ms, request_ms: None, idle_ms })
        .prop_filter("nothing in it", |it| *it != wire::Timeouts::default());
    let retry = (1..21_u32, prop::option::of(10..60_001_u64))
        .prop_map(|(attempts, per_try_timeout_ms)| wire::Retry { attempts, per_try_timeout_ms });
    (prop::option::of(timeouts), prop::option::of(retry))
}

#[test]
fn what_applies_is_written_with_its_defaults() {
    let text = CONFIG.replace(
        "spec:",
        "spec:
  circuitBreaker: {maxConnections: 100, perEndpoint: {maxFailures: 5}}
  outlierDetection: {}
  healthCheck: {http: {}}
  timeouts: {connect: 1s}
  retry: {attempts: 2}",
    );
    let wire = accepted(&text).remove(0).into_object();
    let model = Object::try_from(wire).expect("valid");
    let written = to_yaml(&wire::Object::from(&model)).expect("written");
    let (_, written) = written.split_once("  circuitBreaker").expect("there");
    assert_eq!(
        format!("  circuitBreaker{written}"),
        "  circuitBreaker:
    maxConnections: 100
    perEndpoint:
      maxFailures: 5
      window: 10s
      resetTimeout: 30s
      trialConnections: 1
  outlierDetection:
    consecutiveFailures: 5
    interval: 10s
    baseEjectionTime: 30s
    maxEjectionPercent: 10
    maxEjectionTime: 5m
    minimumConnections: 50
  healthCheck:
    http:
      path: /
      statuses:
      - 200-399
    interval: 10s
    timeout: 1s
    healthyThreshold: 2
    unhealthyThreshold: 3
    initialState: Healthy
    jitterPercent: 10
  timeouts:
    connect: 1s
  retry:
    attempts: 2
"
    );
    assert_eq!(Object::try_from(accepted(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: reviews, namespace: prod, labels: {{app.example/name: reviews}}}}\nspec:\n  trafficRules: [{{destination: {{version: v1}}, weight: 90}}, {{destination: {{version: v2}}, weight: 10}}]\n  circuitBreaker{written}"
    )).remove(0).into_object()).expect("valid"), model);
}

#[test]
fn a_tcp_check_is_written_as_people_write_it() {
    let text = CONFIG.replace("spec:", "spec:\n  healthCheck:\n    tcp: {}\n    port: 81");
    let written = to_yaml(accepted(&text)[0].object()).expect("written");
    assert!(written.contains("healthCheck:\n    tcp: {}\n    port: 81\n"), "{written}");
}
