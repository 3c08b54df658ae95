//! Health checks.

use std::time::Duration;

use super::{config, refused};
use crate::model::{Health, HealthCheck, HttpProbe, Port, Probe};

fn check(spec: &str) -> HealthCheck {
    *config(&format!("healthCheck: {{{spec}}}")).health_check.expect("some")
}

fn wrong(spec: &str, said: &[&str]) {
    let said: Vec<String> = said.iter().map(|said| format!("spec.healthCheck{said}")).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    refused("ServiceConfig", &format!("healthCheck: {{{spec}}}"), &said);
}

#[test]
fn a_check_has_defaults() {
    assert_eq!(config("").health_check, None);
    let defaults = HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 10,
    };
    assert_eq!(check("tcp: {}"), defaults);
    // The timeout is never longer than the interval.
    let short = Duration::from_millis(50);
    assert_eq!(
        check("tcp: {}, interval: 50ms"),
        HealthCheck { interval: short, timeout: short, ..defaults }
    );
    let http = HttpProbe { path: "/".to_owned(), host: None, statuses: vec![(200, 399)] };
    assert_eq!(check("http: {}").probe, Probe::Http(http));
    assert_eq!(check("grpc: {}").probe, Probe::Grpc { service: String::new() });
}

#[test]
fn all_of_a_check_can_be_given() {
    assert_eq!(
        check(
            "http: {path: '/healthz?deep=1', host: 'shop.example:8080', statuses: ['200', \
             '300-399']}, interval: 1h, timeout: 1h, healthyThreshold: 1, unhealthyThreshold: 100, \
             initialState: Unhealthy, port: 8081, jitterPercent: 0"
        ),
        HealthCheck {
            probe: Probe::Http(HttpProbe {
                path: "/healthz?deep=1".to_owned(),
                host: Some("shop.example:8080".to_owned()),
                statuses: vec![(200, 200), (300, 399)],
            }),
            interval: Duration::from_hours(1),
            timeout: Duration::from_hours(1),
            healthy_threshold: 1,
            unhealthy_threshold: 100,
            initial: Health::Unhealthy,
            port: Some(Port::try_from(8081).expect("a port")),
            jitter_percent: 0,
        }
    );
    let grpc = check("grpc: {service: shop.v1.Reviews}");
    assert_eq!(grpc.probe, Probe::Grpc { service: "shop.v1.Reviews".to_owned() });
    for host in ["'[::1]:80'", "10.0.0.1"] {
        check(&format!("http: {{host: {host}}}"));
    }
}

#[test]
fn exactly_one_thing_is_done() {
    let required = ": required: one of tcp: {}, http: {} and grpc: {}";
    wrong("", &[required]);
    wrong("interval: 1s", &[required]);
    // Left empty is left out.
    wrong("tcp: ", &[required]);
    wrong("tcp: {}, grpc: {}", &[": more than one of tcp, http and grpc: keep one"]);
    wrong("tcp: {port: 80}", &[".tcp.port: unknown field: there are none here"]);
    wrong("tcp: true", &[".tcp: expected {}, found the boolean true"]);
}

#[test]
fn all_that_is_wrong_with_a_check_is_said() {
    wrong(
        "tcp: {}, interval: 49ms, timeout: 9ms, healthyThreshold: 0, unhealthyThreshold: 101, \
         port: 0, jitterPercent: 51",
        &[
            ".interval: 49ms is out of range: use 50ms to 1h, or leave it out for 10s",
            ".timeout: 9ms is out of range: use 10ms to 1h, or leave it out for 1s",
            ".healthyThreshold: 0 is out of range: use 1 to 100, or leave it out for 2",
            ".unhealthyThreshold: 101 is out of range: use 1 to 100, or leave it out for 3",
            ".port: 0 is not a port: use 1 to 65535",
            ".jitterPercent: 51 is out of range: use 0 to 50, or leave it out for 10",
        ],
    );
    wrong(
        "tcp: {}, interval: 1s, timeout: 2s",
        &[".timeout: longer than the interval, which is 1s: use 10ms to 1s"],
    );
    wrong(
        "tcp: {}, initialState: Draining",
        &[".initialState: \"Draining\" is not one of Healthy, Unhealthy"],
    );
}

#[test]
fn a_path_a_host_and_a_name_can_be_sent() {
    let path = |path: &str, said: &str| {
        wrong(&format!("http: {{path: \"{path}\"}}"), &[&format!(".http.path: {said}")]);
    };
    path("healthz", "\"healthz\" is no path: begin with \"/\"");
    let escape = "has characters that a path cannot have: write them as %20, %C3%A4 and so on";
    for bad in ["/a b", "/a\\r\\nX: y", "/a#b", "/ä", "/a<b>", "/[a]", "/a|b", "/`", "/a\\tb"] {
        path(bad, &format!("\"{bad}\" {escape}"));
    }
    check("http: {path: \"/a/~b-c_d.e%20!$&'()*+,;=:@?x=/?\"}");
    path(&"/a".repeat(513), "1026 bytes long: at most 1024 are allowed");
    for host in ["a b", "a\\r\\nb", "http://a", "a/b", "ä", &"a".repeat(256)] {
        let shown: String = host.chars().take(80).collect();
        let dots = if host.len() > 80 { "…" } else { "" };
        let said = format!(
            ".http.host: \"{shown}{dots}\" is no host: use a name or an address, with or without :port"
        );
        wrong(&format!("http: {{host: \"{host}\"}}"), &[&said]);
    }
    wrong(
        "grpc: {service: \"a b\"}",
        &[".grpc.service: \"a b\" is no name of a gRPC service: write it like \"shop.v1.Reviews\""],
    );
}

#[test]
fn statuses_are_three_digits_or_two_times_three() {
    let no = "is no status: use three digits, 200 to 599, as in \"200\" or \"200-299\"";
    let texts =
        ["20", "199", "600", "+20", "2000", "200-", "-200", "200-2999", "2xx", "", "200-299-300"];
    for text in texts {
        let said = format!(".http.statuses[1]: {text:?} {no}");
        wrong(&format!("http: {{statuses: ['200', '{text}']}}"), &[&said]);
    }
    wrong(
        "http: {statuses: ['299-200', '20']}",
        &[
            ".http.statuses[0]: \"299-200\" is the wrong way round: use \"200-299\"",
            &format!(".http.statuses[1]: \"20\" {no}"),
        ],
    );
    wrong("http: {statuses: ['200-99']}", &[&format!(".http.statuses[0]: \"200-99\" {no}")]);
    wrong(
        "http: {statuses: [200]}",
        &[".http.statuses[0]: expected text (put it in quotes), found the number 200"],
    );
    let many = vec!["'200'"; 33].join(", ");
    wrong(&format!("http: {{statuses: [{many}]}}"), &[".http.statuses: 33 items: use at most 32"]);
}
