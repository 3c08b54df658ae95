//! Settings in words.

use mesh_api::model::{Acceleration, CircuitBreaker, LoadBalancer, OnNoProxy, Port, Retry};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn plain() -> ServiceConfig {
    ServiceConfig {
        name: "shop/cart".parse().expect("a name"),
        labels: std::collections::BTreeMap::new(),
        traffic_rules: Vec::new(),
        load_balancer: LoadBalancer::default(),
        drain_timeout: None,
        circuit_breaker: None,
        outlier_detection: None,
        health_check: None,
        timeouts: None,
        acceleration: Acceleration::Off,
        on_no_proxy: OnNoProxy::default(),
        proxy_ports: std::collections::BTreeMap::new(),
    }
}

fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        interval: 10 * SECOND,
        timeout: SECOND,
        healthy_threshold: 2,
        unhealthy_threshold: 3,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 10,
    }
}

fn full() -> ServiceConfig {
    let breaker = Breaker {
        max_failures: 5,
        window: 10 * SECOND,
        reset_timeout: 30 * SECOND,
        trial_connections: 1,
    };
    let breaker = CircuitBreaker {
        service: Thresholds {
            max_connections: Some(100),
            max_pending_connections: Some(10),
            breaker: None,
        },
        endpoint: Thresholds { breaker: Some(breaker), ..Thresholds::default() },
        requests: None,
    };
    let outlier = OutlierDetection {
        consecutive_failures: Some(5),
        interval: 10 * SECOND,
        base_ejection_time: 30 * SECOND,
        max_ejection_time: 300 * SECOND,
        max_ejection_percent: 10,
        failure_percentage: Some(50),
        minimum_connections: 50,
        consecutive_5xx: None,
        consecutive_gateway_errors: None,
    };
    let timeouts = Timeouts {
        connect: Some(3 * SECOND),
        idle: Some(60 * SECOND),
        retry: Some(Retry { attempts: 3, per_try_timeout: Some(SECOND / 5) }),
        request: None,
    };
    ServiceConfig {
        load_balancer: LoadBalancer {
            slow_start: Some(30 * SECOND),
            panic_threshold: 50,
            ..LoadBalancer::default()
        },
        circuit_breaker: Some(Box::new(breaker)),
        outlier_detection: Some(Box::new(outlier)),
        health_check: Some(Box::new(check(Probe::Tcp))),
        timeouts: Some(Box::new(timeouts)),
        ..plain()
    }
}

#[test]
fn what_is_off_is_empty_or_left_out() {
    let off = [
        ("Health check", String::new()),
        ("Circuit breaker", String::new()),
        ("Outlier detection", String::new()),
        ("Timeouts", String::new()),
    ];
    assert_eq!(settings(None), off);
    assert_eq!(settings(Some(&plain())), off);
    assert_eq!(cells(Some(&plain())), [""; 4]);
}

#[test]
fn what_is_on_is_said_in_words() {
    let settings = settings(Some(&full()));
    let lines: Vec<_> = settings.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(
        lines,
        [
            "Health check: TCP connect every 10s ±10%, timeout 1s; unhealthy after 3 failed, \
             healthy after 2 passed, healthy before",
            "Circuit breaker: at most 100 connections at a time, 10 of them being made",
            "- per endpoint: open for 30s after 5 failed connects within 10s, then 1 trial",
            "Outlier detection: ejected for 30s, longer each time up to 5m after 5 failed \
             connects in a row, or 50% failed of 50 connects or more within 10s; at most 10% of \
             the endpoints at a time",
            "Timeouts: connect 3s, idle 1m, SYN sent again 3 times; first after 200ms",
            "Slow start: 30s",
            "Panic: below 50% healthy, health is ignored",
        ]
    );
}

#[test]
fn tables_have_them_without_spaces() {
    assert_eq!(
        cells(Some(&full())),
        [
            "TCP/10s",
            "connections=100,pending=10,endpoint-failures=5",
            "consecutive=5,percentage=50",
            "connect=3s,idle=1m,attempts=3"
        ]
    );
}

#[test]
fn every_kind_of_check_says_what_it_asks_for() {
    let http = HttpProbe {
        path: "/ready".to_owned(),
        host: Some("cart".to_owned()),
        statuses: vec![(200, 299), (418, 418)],
    };
    for (probe, said) in [
        (
            Probe::Http(http),
            "HTTP GET /ready, host cart, status 200-299 or 418, at port 81 every 10s, ",
        ),
        (
            Probe::Grpc { service: String::new() },
            "gRPC health of the server at port 81 every 10s, ",
        ),
        (Probe::Grpc { service: "a.B".to_owned() }, "gRPC health of a.B at port 81 every 10s, "),
    ] {
        let port = Port::try_from(81).ok();
        let check =
            HealthCheck { port, jitter_percent: 0, initial: Health::Unhealthy, ..check(probe) };
        let text = health_check(&check);
        assert!(text.starts_with(said), "{text}");
        assert!(text.ends_with("unhealthy before"), "{text}");
    }
}

#[test]
fn a_detection_without_a_cause_never_ejects() {
    let config = full();
    let outlier = *config.outlier_detection.expect("outlier detection");
    let never =
        OutlierDetection { consecutive_failures: None, failure_percentage: None, ..outlier };
    assert_eq!(outlier_detection(&never), "never ejects");
}
