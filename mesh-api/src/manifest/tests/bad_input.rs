//! Every kind of mistake: which line, which field, and what is said.

use super::{CONFIG, SERVICE, accepted, lines, refused};
use crate::manifest::{decode, duplicates, parse};

/// The service manifest with one text put for another.
fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(SERVICE.contains(from));
    refused(&SERVICE.replace(from, to))
}

#[test]
fn an_unknown_field_is_named_with_the_likely_one() {
    assert_eq!(
        changed("targetPort", "targetport"),
        [
            r#"a.yaml:9: Service default/reviews: spec.ports[0].targetport: unknown field: did you mean "targetPort"?"#
        ]
    );
    assert_eq!(
        changed("spec:", "status: {}\nspec:"),
        [
            "a.yaml:5: Service default/reviews: status: unknown field: there are apiVersion, kind, metadata, spec"
        ]
    );
    assert_eq!(
        changed("  name:", "  nmae: x\n  name:"),
        [
            r#"a.yaml:4: Service default/reviews: metadata.nmae: unknown field: did you mean "name"?"#
        ]
    );
}

#[test]
fn all_mistakes_of_all_documents_are_said_at_once() {
    let text = format!(
        "{}---\n{}",
        SERVICE.replace("80\n", "http\n").replace("vips: [10.96.0.10]", "vips: {}\n  extra: 1"),
        CONFIG.replace("weight: 90", "weight: -90").replace("version: v2", "verison: 2"),
    );
    assert_eq!(
        refused(&text),
        [
            "a.yaml:6: Service default/reviews: spec.vips: expected a list, found a mapping",
            "a.yaml:7: Service default/reviews: spec.extra: unknown field: there are vips, ports, onNoBackend, sessionAffinity, refuseErrno",
            "a.yaml:9: Service default/reviews: spec.ports[0].port: expected a whole number from 0 to 4294967295, found the text \"http\"",
            "a.yaml:10: Service default/reviews: spec.ports[0].targetPort: expected a whole number from 0 to 4294967295, found the text \"80http\"",
            "a.yaml:18: ServiceConfig prod/reviews: spec.trafficRules[0].weight: expected a whole number from 0 to 4294967295, found the number -90",
            "a.yaml:20: ServiceConfig prod/reviews: spec.trafficRules[1].destination.verison: unknown field: did you mean \"version\"?",
        ]
    );
}

#[test]
fn a_wrong_type_says_what_was_expected_and_what_was_found() {
    let spec = "a.yaml:8: Service default/reviews: spec.ports[0].port: expected ";
    assert_eq!(
        changed("port: 80\n", "port: \"80\"\n"),
        [format!("{spec}a number without quotes, found the text \"80\"")]
    );
    assert_eq!(
        changed("port: 80\n", "port: 1.5\n"),
        [format!("{spec}a whole number from 0 to 4294967295, found the number 1.5")]
    );
    assert_eq!(
        changed("name: reviews", "name: 7"),
        ["a.yaml:4: metadata.name: expected text (put it in quotes), found the number 7"]
    );
    assert_eq!(
        changed("name: reviews", "name: reviews\n  labels: [a]"),
        ["a.yaml:5: Service default/reviews: metadata.labels: expected a mapping, found a list"]
    );
    assert_eq!(
        changed("- port: 80\n    targetPort: 8080", "- 80\n  - 81"),
        [
            "a.yaml:8: Service default/reviews: spec.ports[0]: expected a mapping with name, port, targetPort, protocol, appProtocol, found the number 80",
            "a.yaml:9: Service default/reviews: spec.ports[1]: expected a mapping with name, port, targetPort, protocol, appProtocol, found the number 81",
        ]
    );
}

#[test]
fn an_enum_lists_what_it_can_be() {
    assert_eq!(
        changed("- port", "- protocol: tcp\n    port"),
        [
            r#"a.yaml:8: Service default/reviews: spec.ports[0].protocol: "tcp" is not one of TCP, UDP"#
        ]
    );
}

#[test]
fn a_duration_says_its_form() {
    let endpoint = "
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata: {name: reviews-1}
spec: {service: reviews, address: 10.0.0.1, ttl: TTL}
";
    assert_eq!(accepted(&endpoint.replace("TTL", "1m30s")).len(), 1);
    let at = "a.yaml:5: Endpoint default/reviews-1: spec.ttl: ";
    assert_eq!(
        refused(&endpoint.replace("TTL", "soon")),
        [format!("{at}\"soon\" is no duration: write it like 250ms, 5s or 1m30s")]
    );
    assert_eq!(
        refused(&endpoint.replace("TTL", "30")),
        [format!("{at}expected a duration like 250ms, 5s or 1m30s, found the number 30")]
    );
    assert_eq!(
        refused(&endpoint.replace("TTL", "48h")),
        [format!("{at}out of range: use 1s to 24h, or leave it out")]
    );
}

#[test]
fn the_envelope_is_checked() {
    assert_eq!(
        changed("kind: Service\n", ""),
        ["a.yaml:1: kind: required: one of Service, Endpoint, ServiceConfig"]
    );
    assert_eq!(
        changed("kind: Service\n", "kind: service\n"),
        [
            r#"a.yaml:2: kind: expected one of Service, Endpoint, ServiceConfig, found the text "service""#
        ]
    );
    assert_eq!(
        changed("apiVersion: mesh.dev/v1alpha1\n", ""),
        ["a.yaml:1: Service default/reviews: apiVersion: required: mesh.dev/v1alpha1"]
    );
    assert_eq!(
        changed("v1alpha1", "v1"),
        [
            r#"a.yaml:1: Service default/reviews: apiVersion: expected mesh.dev/v1alpha1, found the text "mesh.dev/v1""#
        ]
    );
    assert_eq!(
        refused("apiVersion: mesh.dev/v1alpha1\nkind: Service\n"),
        ["a.yaml:1: metadata: required: a mapping with name", "a.yaml:1: spec: required"]
    );
    assert_eq!(
        refused("just text"),
        [
            r#"a.yaml:1:1: expected a mapping with apiVersion, kind, metadata and spec, found the text "just text""#
        ]
    );
}

#[test]
fn rules_of_one_object_are_kept_with_lines() {
    assert_eq!(
        changed("port: 80\n", "port: 0\n"),
        ["a.yaml:8: Service default/reviews: spec.ports[0].port: 0 is not a port: use 1 to 65535"]
    );
    let name = "r".repeat(300);
    let said = changed("name: reviews", &format!("name: {name}"));
    let short = "r".repeat(60);
    assert_eq!(
        said,
        [format!(
            "a.yaml:4: Service default/{short}…: metadata.name: 300 characters long: at most 63 are allowed"
        )]
    );
    let zero = CONFIG.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 0");
    assert_eq!(
        refused(&zero),
        [
            "a.yaml:5: ServiceConfig prod/reviews: spec.trafficRules: the weights add up to 0: give at least one rule a weight above 0"
        ]
    );
}

#[test]
fn mistakes_within_health_and_resilience_have_their_lines() {
    let config = CONFIG.replace(
        "spec:",
        "\
spec:
  circuitBreaker:
    maxFailures: 0
    perEndpoint:
      maxFailures: 5
      windows: 10s
  outlierDetection:
    interval: 10
  healthCheck:
    http:
      paths: /
      statuses:
      - '200'
      - 20x
    intervall: 1s
  timeouts:
    request: 1ms
  retry:
    attempts: -1",
    );
    let said: Vec<String> = refused(&config)
        .iter()
        .map(|line| line.replace("ServiceConfig prod/reviews: spec.", ""))
        .collect();
    assert_eq!(
        said,
        [
            "a.yaml:6: circuitBreaker.maxFailures: 0 is out of range: use 1 to 1023, or leave it out",
            "a.yaml:9: circuitBreaker.perEndpoint.windows: unknown field: did you mean \"window\"?",
            "a.yaml:11: outlierDetection.interval: expected a duration like 250ms, 5s or 1m30s, found the number 10",
            "a.yaml:14: healthCheck.http.paths: unknown field: did you mean \"path\"?",
            "a.yaml:17: healthCheck.http.statuses[1]: \"20x\" is no status: use three digits, 200 to 599, as in \"200\" or \"200-299\"",
            "a.yaml:18: healthCheck.intervall: unknown field: did you mean \"interval\"?",
            "a.yaml:20: timeouts.request: 1ms is out of range: use 10ms to 24h, or leave it out",
            "a.yaml:22: retry.attempts: expected a whole number from 0 to 4294967295, found the number -1",
        ]
    );
}

#[test]
fn the_same_object_twice_is_refused_with_both_places() {
    let mut all = parse("a.yaml", SERVICE).expect("valid");
    all.extend(parse("b.yaml", &format!("# again\n{SERVICE}")).expect("valid"));
    all.extend(parse("c.yaml", SERVICE).expect("valid"));
    let problems = duplicates(&all).expect_err("twice");
    assert_eq!(
        lines(&problems),
        [
            "b.yaml:5: Service default/reviews: metadata.name: already given at a.yaml:4",
            "c.yaml:4: Service default/reviews: metadata.name: already given at a.yaml:4",
        ]
    );
}

#[test]
fn malformed_yaml_has_line_and_column() {
    let said = refused("kind: Service\nspec: [1, 2\nmore: x\n");
    assert!(said[0].starts_with("a.yaml:3:"), "{said:?}");
    let said = changed("  name: reviews", "  name: reviews\n  name: other");
    assert!(said[0].starts_with("a.yaml:5:3: "), "{said:?}");
    assert!(said[0].contains("duplicate"), "{said:?}");
}

#[test]
fn text_that_is_no_text_is_refused() {
    let problems = decode("a.yaml", b"kind: Service\nspec: \xff\n").expect_err("not UTF-8");
    assert_eq!(lines(&problems), ["a.yaml:2: not UTF-8 text: save the manifest as UTF-8"]);
}
