//! Breakers, outlier detection, timeouts and the load balancer's part in them.

use std::time::Duration;

use super::{config, read, refused};
use crate::model::{Breaker, CircuitBreaker, OutlierDetection, Retry, Thresholds, Timeouts};

/// What is said of fields below `at`.
fn wrong(at: &str, spec: &str, said: &[&str]) {
    let said: Vec<String> = said.iter().map(|said| format!("spec.{at}{said}")).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    refused("ServiceConfig", &format!("{at}: {spec}"), &said);
}

fn breaker(spec: &str) -> CircuitBreaker {
    *config(&format!("circuitBreaker: {spec}")).circuit_breaker.expect("some")
}

#[test]
fn a_breaker_has_defaults_and_limits_have_none() {
    assert_eq!(config("").circuit_breaker, None);
    let closed = Thresholds::default();
    let with_defaults = Breaker {
        max_failures: 5,
        window: Duration::from_secs(10),
        reset_timeout: Duration::from_secs(30),
        trial_connections: 1,
    };
    let service = Thresholds { breaker: Some(with_defaults), ..closed };
    assert_eq!(
        breaker("{maxFailures: 5}"),
        CircuitBreaker { service, endpoint: closed, requests: None }
    );
    let given = Breaker {
        max_failures: 1023,
        window: Duration::from_millis(100),
        reset_timeout: Duration::from_hours(1),
        trial_connections: 1023,
    };
    let endpoint = Thresholds {
        max_connections: Some(4),
        max_pending_connections: Some(4),
        breaker: Some(given),
    };
    let service =
        Thresholds { max_connections: Some(100), max_pending_connections: Some(10), breaker: None };
    assert_eq!(
        breaker(
            "{maxConnections: 100, maxPendingConnections: 10, perEndpoint: {maxConnections: 4, \
             maxPendingConnections: 4, maxFailures: 1023, window: 100ms, resetTimeout: 1h, \
             trialConnections: 1023}}"
        ),
        CircuitBreaker { service, endpoint, requests: None }
    );
}

#[test]
fn all_that_is_wrong_with_a_breaker_is_said() {
    let wrong = |spec, said: &[&str]| wrong("circuitBreaker", spec, said);
    wrong(
        "{}",
        &[": nothing in it: give maxConnections, maxPendingConnections, maxFailures or \
            perEndpoint, or remove circuitBreaker"],
    );
    wrong(
        "{perEndpoint: {}}",
        &[".perEndpoint: nothing in it: give maxConnections, maxPendingConnections or \
            maxFailures, or remove perEndpoint"],
    );
    wrong(
        "{window: 10s, trialConnections: 2}",
        &[".maxFailures: required with window, trialConnections: how many failed connections \
            open the breaker, 1 to 1023"],
    );
    wrong(
        "{maxConnections: 0, maxFailures: 1024, window: 0s, resetTimeout: 2h, trialConnections: 0}",
        &[
            ".maxConnections: 0 is out of range: use 1 to 4294967295, or leave it out",
            ".maxFailures: 1024 is out of range: use 1 to 1023, or leave it out",
            ".window: 0s is out of range: use 100ms to 1h, or leave it out for 10s",
            ".resetTimeout: 2h is out of range: use 10ms to 1h, or leave it out for 30s",
            ".trialConnections: 0 is out of range: use 1 to 1023, or leave it out for 1",
        ],
    );
    wrong(
        "{maxConnections: 10, maxPendingConnections: 11, perEndpoint: {maxConnections: 12, \
         maxPendingConnections: 13, window: 1s}}",
        &[
            ".maxPendingConnections: 11 is above maxConnections, which is 10: use 1 to 10",
            ".perEndpoint.maxFailures: required with window: how many failed connections open the \
             breaker, 1 to 1023",
            ".perEndpoint.maxConnections: 12 is above the 10 of spec.circuitBreaker.maxConnections: \
             use 1 to 10",
            ".perEndpoint.maxPendingConnections: 13 is above maxConnections, which is 12: use 1 to 12",
            ".perEndpoint.maxPendingConnections: 13 is above the 11 of \
             spec.circuitBreaker.maxPendingConnections: use 1 to 11",
        ],
    );
    wrong("{maxFailure: 5}", &[".maxFailure: unknown field: did you mean \"maxFailures\"?"]);
}

#[test]
fn outlier_detection_has_defaults() {
    let outlier =
        |spec: &str| *config(&format!("outlierDetection: {spec}")).outlier_detection.expect("some");
    let defaults = OutlierDetection {
        consecutive_failures: Some(5),
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_mins(5),
        max_ejection_percent: 10,
        failure_percentage: None,
        minimum_connections: 50,
        consecutive_5xx: None,
        consecutive_gateway_errors: None,
    };
    assert_eq!(config("").outlier_detection, None);
    assert_eq!(outlier("{}"), defaults);
    let long = Duration::from_mins(10);
    assert_eq!(
        outlier("{baseEjectionTime: 10m}"),
        OutlierDetection { base_ejection_time: long, max_ejection_time: long, ..defaults }
    );
    assert_eq!(
        outlier(
            "{consecutiveFailures: 0, failurePercentage: 100, minimumConnections: 1, interval: 1s, \
             baseEjectionTime: 10ms, maxEjectionTime: 10ms, maxEjectionPercent: 0}"
        ),
        OutlierDetection {
            consecutive_failures: None,
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_millis(10),
            max_ejection_time: Duration::from_millis(10),
            max_ejection_percent: 0,
            failure_percentage: Some(100),
            minimum_connections: 1,
            ..defaults
        }
    );
}

#[test]
fn all_that_is_wrong_with_outlier_detection_is_said() {
    let wrong = |spec, said: &[&str]| wrong("outlierDetection", spec, said);
    wrong(
        "{consecutiveFailures: 0}",
        &[": nothing is looked at: give consecutiveFailures or \
            failurePercentage a value above 0, or remove outlierDetection"],
    );
    wrong(
        "{consecutiveFailures: 4096, failurePercentage: 101, interval: 99ms, \
         baseEjectionTime: 25h, maxEjectionTime: 0s, maxEjectionPercent: 101, \
         minimumConnections: 0}",
        &[
            ".consecutiveFailures: 4096 is out of range: use 0 to 4095, or leave it out for 5",
            ".failurePercentage: 101 is out of range: use 0 to 100, or leave it out",
            ".interval: 99ms is out of range: use 100ms to 1h, or leave it out for 10s",
            ".baseEjectionTime: 25h is out of range: use 10ms to 24h, or leave it out for 30s",
            ".maxEjectionTime: 0s is out of range: use 10ms to 24h, or leave it out for 5m",
            ".maxEjectionPercent: 101 is out of range: use 0 to 100, or leave it out for 10",
            ".minimumConnections: 0 is out of range: use 1 to 4294967295, or leave it out for 50",
        ],
    );
    wrong(
        "{maxEjectionTime: 29s}",
        &[".maxEjectionTime: shorter than baseEjectionTime, which is 30s: use 30s to 24h"],
    );
}

#[test]
fn sockets_are_told_of_timeouts_and_retransmissions() {
    let timeouts = |spec: &str| config(spec).timeouts.map(|it| *it);
    assert_eq!(timeouts(""), None);
    let connect = Some(Duration::from_millis(500));
    let none = Timeouts::default();
    assert_eq!(timeouts("timeouts: {connect: 500ms}"), Some(Timeouts { connect, ..none }));
    let idle = Some(Duration::from_hours(24));
    assert_eq!(timeouts("timeouts: {idle: 24h}"), Some(Timeouts { idle, ..none }));
    let retry = Some(Retry { attempts: 20, per_try_timeout: None });
    assert_eq!(timeouts("retry: {attempts: 20}"), Some(Timeouts { retry, ..none }));
    let retry = Some(Retry { attempts: 1, per_try_timeout: connect });
    assert_eq!(
        timeouts("timeouts: {connect: 500ms}, retry: {attempts: 1, perTryTimeout: 500ms}"),
        Some(Timeouts { connect, retry, ..none })
    );
}

#[test]
fn all_that_is_wrong_with_timeouts_is_said() {
    let wrong = |spec: &str, said: &[&str]| refused("ServiceConfig", spec, said);
    wrong(
        "timeouts: {}, retry: {}",
        &[
            "spec.timeouts: nothing in it: give connect, idle or request, or remove timeouts",
            "spec.retry.attempts: 0 is out of range: use 1 to 20, how often the SYN is sent again, \
             or remove retry",
        ],
    );
    wrong(
        "timeouts: {connect: 9ms, idle: 1s}, retry: {attempts: 21, perTryTimeout: 61s}",
        &[
            "spec.timeouts.connect: 9ms is out of range: use 10ms to 10m, or leave it out",
            "spec.timeouts.idle: 1s is out of range: use 2s to 24h, or leave it out",
            "spec.retry.attempts: 21 is out of range: use 1 to 20, how often the SYN is sent again, \
             or remove retry",
            "spec.retry.perTryTimeout: 1m1s is out of range: use 10ms to 1m, or leave it out",
        ],
    );
    wrong(
        "timeouts: {connect: 1s}, retry: {attempts: 2, perTryTimeout: 2s}",
        &[
            "spec.retry.perTryTimeout: longer than spec.timeouts.connect, which is 1s: use less, so \
            that the SYN is sent again before the time is over",
        ],
    );
}

#[test]
fn a_load_balancer_has_slow_start_and_a_panic_threshold() {
    let read_one = |spec: &str| config(&format!("loadBalancer: {{{spec}}}")).load_balancer;
    assert_eq!((read_one("").slow_start, read_one("").panic_threshold), (None, 0));
    let both = read_one("slowStart: 1s, panicThreshold: 100");
    assert_eq!((both.slow_start, both.panic_threshold), (Some(Duration::from_secs(1)), 100));
    wrong(
        "loadBalancer",
        "{slowStart: 0s, panicThreshold: 101}",
        &[
            ".slowStart: 0s is out of range: use 1s to 1h, or leave it out",
            ".panicThreshold: 101 is out of range: use 0 to 100, or leave it out",
        ],
    );
    assert!(read("ServiceConfig", "loadBalancer: {slowStart: 1h}").is_ok());
}
