//! Rules for requests: what is read, what is refused with which field, what goes through unchanged.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{config, refused};
use crate::model::{
    Abort, Fault, GrpcMatch, HeaderMatch, HeaderValue, OnNoProxy, PathMatch, PathModifier,
    RequestLimits, RequestRule, RetryOn, RouteMatch, ServiceConfig,
};
use crate::wire;

const ALL: &str = "trafficRules: [\
    {match: {path: {value: /shop/}, headers: [{name: X-B, type: RegularExpression, value: 'a+'}, \
     {name: x-a, value: one}], method: GET}, destination: {version: v2}, weight: 3, timeout: 2s, \
     retries: {attempts: 2, perTryTimeout: 500ms, retryOn: [5xx, '404', unavailable]}, \
     mirror: {destination: {service: copy}, percent: 5}, \
     fault: {delay: {duration: 5ms, percent: 50}, abort: {grpcStatus: 14, percent: 1}}, \
     rewrite: {hostname: shop.local, path: {replacePrefixMatch: /}}}, \
    {match: {grpc: {service: shop.v1.Orders, method: Get}}, destination: {version: v1}}, \
    {match: {path: {type: Exact, value: /old}}, redirect: {port: 8443, scheme: https}}, \
    {destination: {version: v1}, weight: 9}, {destination: {version: v2}, weight: 1}], \
    onNoProxy: Bypass, timeouts: {request: 10s}, outlierDetection: {consecutive5xx: 7}, \
    circuitBreaker: {requests: {maxRequests: 100}}";

fn request(config: &ServiceConfig, rule: usize) -> &RequestRule {
    config.traffic_rules[rule].request.as_ref().expect("for requests")
}

#[test]
fn rules_for_requests_are_read_and_written_unchanged() {
    let config = config(ALL);
    assert!(config.is_for_requests());
    assert_eq!(config.rules_of_connections().map(|it| it.weight).collect::<Vec<_>>(), [9, 1]);
    let first = request(&config, 0);
    let header = |name: &str, value| HeaderMatch { name: name.to_owned(), value };
    assert_eq!(
        first.matches,
        Some(RouteMatch {
            path: Some(PathMatch::Prefix("/shop".to_owned())),
            headers: vec![
                header("x-a", HeaderValue::Exact("one".to_owned())),
                header("x-b", HeaderValue::Regex("a+".to_owned())),
            ],
            method: Some("GET".to_owned()),
            grpc: None,
        })
    );
    let retries = first.retries.as_ref().expect("some");
    assert_eq!((retries.attempts, retries.per_try_timeout), (2, Some(Duration::from_millis(500))));
    let on = [RetryOn::ServerError, RetryOn::Unavailable, RetryOn::Status(404)];
    assert_eq!(retries.on, BTreeSet::from(on));
    let delay = Some((Duration::from_millis(5), 50));
    assert_eq!(first.fault, Some(Fault { delay, abort: Some((Abort::Grpc(14), 1)) }));
    let rewrite = first.rewrite.as_ref().expect("some");
    assert_eq!(rewrite.path, Some(PathModifier::Prefix("/".to_owned())));
    let method = Some("Get".to_owned());
    let grpc = GrpcMatch { service: "shop.v1.Orders".to_owned(), method };
    assert_eq!(request(&config, 1).matches.as_ref().and_then(|it| it.grpc.clone()), Some(grpc));
    // A match whose rules have no weight shares its requests out alike.
    assert_eq!(config.traffic_rules[1].weight, 1);
    let redirect = request(&config, 2).redirect.as_ref().expect("some");
    assert_eq!((redirect.status, redirect.port), (302, Some(8443)));
    assert_eq!(config.on_no_proxy, OnNoProxy::Bypass);
    let breaker = config.circuit_breaker.as_ref().expect("some");
    let limits = RequestLimits { max_requests: Some(100), ..RequestLimits::default() };
    assert_eq!(breaker.requests, Some(limits));

    let again = super::again(&config);
    assert_eq!(again, config);
}

#[test]
fn usual_reasons_to_retry_are_those_that_harm_nobody() {
    let config =
        config("trafficRules: [{destination: {version: a}, weight: 1, retries: {attempts: 1}}]");
    let retries = request(&config, 0).retries.as_ref().expect("some");
    assert_eq!(retries.on, BTreeSet::from(RetryOn::USUAL));
    assert!(retries.on.iter().all(|reason| *reason != RetryOn::Reset));
}

#[test]
fn what_is_for_connections_only_needs_no_proxy() {
    for spec in ["", "trafficRules: [{destination: {version: v1}, weight: 1}]", "onNoProxy: Bypass"]
    {
        assert!(!config(spec).is_for_requests(), "{spec}");
    }
    for spec in [
        "timeouts: {request: 1s}",
        "circuitBreaker: {requests: {maxRetries: 3}}",
        "outlierDetection: {consecutive5xx: 1}",
    ] {
        assert!(config(spec).is_for_requests(), "{spec}");
    }
}

#[test]
fn what_nobody_can_match_is_refused_with_the_field() {
    let wrong = |spec: &str, said: &[&str]| {
        let spec = format!("trafficRules: [{{destination: {{version: v1}}, weight: 1, {spec}}}]");
        let said: Vec<String> =
            said.iter().map(|it| format!("spec.trafficRules[0].{it}")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        refused("ServiceConfig", &spec, &said);
    };
    wrong(
        "match: {}",
        &["match: nothing in it: give path, headers, method or grpc, or remove match"],
    );
    wrong(
        "match: {path: {value: shop}, method: get, headers: [{name: 'a b', value: x}, \
         {name: a, type: PathPrefix, value: x}, {name: b, value: 1}, {name: B, value: x}]}",
        &[
            "match.path.value: \"shop\" is no path: begin with /, without ? and #",
            "match.method: \"get\" is no method: use GET, POST and the like",
            "match.headers[0].name: \"a b\" is no name of a header",
            "match.headers[1].type: PathPrefix is for paths: use Exact or RegularExpression",
            "match.headers[2].value: expected text (put it in quotes), found the number 1",
        ],
    );
    wrong(
        "match: {path: {type: RegularExpression, value: '(a{1000}){1000}'}}",
        &[
            "match.path.value: \"(a{1000}){1000}\" grows too large: use fewer and smaller repetitions",
        ],
    );
    wrong(
        "match: {path: {type: RegularExpression, value: '/(a'}}",
        &["match.path.value: \"/(a\" is no regular expression: unclosed group"],
    );
    wrong(
        "match: {path: {value: /}, grpc: {method: Get}}",
        &[
            "match.grpc: not beside path or method: a gRPC method is a path, and its method is POST",
            "match.grpc.service: required: the service with its package, such as shop.v1.Orders",
        ],
    );
}

#[test]
fn what_nobody_can_do_is_refused_with_the_field() {
    let wrong = |spec: &str, said: &[&str]| {
        let spec = format!("trafficRules: [{{destination: {{version: v1}}, weight: 1, {spec}}}]");
        let said: Vec<String> =
            said.iter().map(|it| format!("spec.trafficRules[0].{it}")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        refused("ServiceConfig", &spec, &said);
    };
    wrong(
        "timeout: 1s, retries: {attempts: 11, perTryTimeout: 2s, retryOn: [5xx, 5yy]}",
        &[
            "retries.attempts: 11 is out of range: use 1 to 10, or leave it out",
            "retries.perTryTimeout: longer than the rule's timeout, which is 1s: use at most 1s",
            "retries.retryOn[1]: \"5yy\" is unknown: use a status from 400 to 599, or one of 5xx, \
             gateway-error, reset, connect-failure, refused-stream, cancelled, deadline-exceeded, \
             internal, resource-exhausted, unavailable",
        ],
    );
    wrong(
        "fault: {abort: {httpStatus: 500, grpcStatus: 1}}",
        &["fault.abort: give one of httpStatus and grpcStatus"],
    );
    wrong(
        "redirect: {port: 1}, timeout: 1s",
        &[
            "destination: not beside redirect, which goes to no endpoint: remove one of the two",
            "timeout: not beside redirect, which goes to no endpoint: remove one of the two",
        ],
    );
    wrong(
        "rewrite: {path: {replacePrefixMatch: /a}}",
        &[
            "rewrite.path.replacePrefixMatch: only beside match.path of type PathPrefix: there is no \
           prefix to replace",
        ],
    );
    wrong(
        "mirror: {destination: {}, percent: 101}",
        &[
            "mirror.destination: required: a version, a service, or both",
            "mirror.percent: 101 is out of range: use 0 to 100, or leave it out for 100",
        ],
    );
}

#[test]
fn rules_with_one_match_are_one_route() {
    refused(
        "ServiceConfig",
        "trafficRules: [{match: {method: GET}, destination: {version: v1}, timeout: 1s}, \
         {match: {method: GET}, destination: {version: v2}}, \
         {match: {method: GET}, destination: {version: v1}, timeout: 1s}]",
        &[
            "spec.trafficRules[1].timeout: differs from spec.trafficRules[0].timeout, which has the \
             same match: rules with one match share its requests out by weight; say the same in both, \
             or give them different matches",
            "spec.trafficRules[2].destination: an earlier rule has the same match and destination",
        ],
    );
}

#[test]
fn ports_of_the_proxy_are_the_control_planes_to_say() {
    let spec = wire::ServiceConfig {
        proxy_ports: [("http".to_owned(), 20_000), ("no name!".to_owned(), 1), ("b".to_owned(), 0)]
            .into(),
        ..wire::ServiceConfig::default()
    };
    let config = super::read_wire(spec);
    let ports: Vec<_> =
        config.proxy_ports.iter().map(|(name, port)| (name.as_str(), port.get())).collect();
    assert_eq!(ports, [("http", 20_000)]);
    assert_eq!(super::again(&config), config);
}
