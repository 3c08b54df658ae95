//! The table is true: what it says is ignored changes nothing of what is sent, and everything else
//! does. The page is the table's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mesh_api::model::NodeLocality;

use super::*;
use crate::translate::tests::Objects;
use crate::translate::{Named, View, envoy, grpc, vacant};

/// A service with endpoints of two versions, of which some are ill; and another one.
fn objects(service: &str, config: &str) -> Objects {
    let endpoint = |n: u8, version: &str, health: &str| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\n\
             metadata: {{name: e{n}, labels: {{health: {health}}}}}\n\
             spec: {{service: a, version: {version}, address: 10.0.0.{n}, weight: {n}, node: n{n}, locality: {{zone: z{n}}}}}\n"
        )
    };
    Objects::read(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: a}}\n\
         spec: {{vips: [10.9.0.1], ports: [{{name: p, port: 80, appProtocol: grpc}}]{service}}}\n\
         ---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: a}}\n\
         spec: {{{config}}}\n{}{}{}",
        endpoint(1, "v1", "healthy"),
        endpoint(2, "v1", "unhealthy"),
        endpoint(3, "v2", "unhealthy"),
    ))
}

fn sent(objects: &Objects, client: Client) -> Vec<Named> {
    let mut found = Vec::new();
    let zone = Some("z2".parse().unwrap());
    let here = NodeLocality { zone, ..NodeLocality::default() };
    for view in objects.views().map(|view| View { here: Some(&here), ..view }) {
        let vacant = vacant(&view);
        match client {
            Client::Kernel => {}
            Client::Envoy => {
                found.extend(envoy::policy(&view, &vacant));
                found.extend(envoy::assignments(&view, &|_| true));
            }
            Client::Grpc => {
                found.extend(grpc::policy(&view, &vacant));
                found.extend(grpc::assignments(&view, &|_| true));
            }
        }
    }
    found
}

/// What is said without the feature and with it: fields of the service, and of its configuration. A
/// fault makes that Envoy is told of the service at all.
struct Example(&'static str, &'static str, &'static str);

const RULE: &str = "fault: {abort: {httpStatus: 503, percent: 1}}";
const TO: &str = "destination: {version: v1}, weight: 1";

fn example(feature: Feature) -> Option<Example> {
    let rule = |what: &'static str| Some(Example("", "RULE", what));
    let config = |before: &'static str, after: &'static str| Some(Example("", before, after));
    match feature {
        // Where nothing is said, and what the control plane itself does.
        Feature::Random | Feature::RoundRobin | Feature::HealthCheck => None,
        Feature::Split => config(
            "RULES",
            "trafficRules: [{destination: {version: v1}, weight: 1, FAULT}, \
             {destination: {version: v2}, weight: 9, FAULT}]",
        ),
        Feature::MatchPath => rule("match: {path: {value: /x}}"),
        Feature::MatchHeaders => rule("match: {headers: [{name: x, value: y}]}"),
        Feature::MatchMethod => rule("match: {method: POST}"),
        Feature::MatchGrpc => rule("match: {grpc: {service: s}}"),
        Feature::Retries => rule("retries: {attempts: 2}"),
        Feature::PerTryTimeout => Some(Example(
            "",
            "RULE retries: {attempts: 2}",
            "retries: {attempts: 2, perTryTimeout: 1s}",
        )),
        Feature::RequestTimeout => rule("timeout: 1s"),
        Feature::Mirror => rule("mirror: {destination: {version: v1}, percent: 5}"),
        Feature::Fault => config(
            "trafficRules: [{TO}], timeouts: {request: 1s}",
            "trafficRules: [{TO, FAULT}], timeouts: {request: 1s}",
        ),
        Feature::Redirect => config(
            "RULES",
            "trafficRules: [{match: {path: {value: /x}}, redirect: {hostname: b, statusCode: 301}}, {TO, FAULT}]",
        ),
        Feature::Rewrite => rule("rewrite: {hostname: b}"),
        Feature::SessionAffinity => {
            Some(Example(", sessionAffinity: {clientIP: true, timeout: 1h}", "RULES", "RULES"))
        }
        Feature::LeastConnections => {
            config("RULES", "RULES, loadBalancer: {policy: LeastConnections}")
        }
        Feature::Maglev => config("RULES", "RULES, loadBalancer: {policy: Maglev}"),
        Feature::HashKey => config(
            "RULES, loadBalancer: {policy: Maglev}",
            "RULES, loadBalancer: {policy: Maglev, hashKey: Workload}",
        ),
        Feature::Locality => {
            config("RULES", "RULES, loadBalancer: {locality: {mode: Strict, scope: Zone}}")
        }
        Feature::SlowStart => config("RULES", "RULES, loadBalancer: {slowStart: 10s}"),
        Feature::PanicThreshold => config("RULES", "RULES, loadBalancer: {panicThreshold: 90}"),
        Feature::DrainTimeout => config("RULES", "RULES, drainTimeout: 5s"),
        Feature::MaxConnections => config("RULES", "RULES, circuitBreaker: {maxConnections: 9}"),
        Feature::MaxPending => config(
            "RULES",
            "RULES, circuitBreaker: {maxPendingConnections: 9, perEndpoint: {maxPendingConnections: 9}}",
        ),
        Feature::Breaker => config(
            "RULES",
            "RULES, circuitBreaker: {maxFailures: 9, perEndpoint: {maxFailures: 9}}",
        ),
        Feature::EndpointMaxConnections => {
            config("RULES", "RULES, circuitBreaker: {perEndpoint: {maxConnections: 9}}")
        }
        Feature::MaxRequests => {
            config("RULES", "RULES, circuitBreaker: {requests: {maxRequests: 9}}")
        }
        Feature::MaxPendingRequests => config(
            "RULES, circuitBreaker: {requests: {maxRequests: 9}}",
            "RULES, circuitBreaker: {requests: {maxRequests: 9, maxPendingRequests: 9}}",
        ),
        Feature::MaxRetries => config(
            "RULES, circuitBreaker: {requests: {maxRequests: 9}}",
            "RULES, circuitBreaker: {requests: {maxRequests: 9, maxRetries: 9}}",
        ),
        Feature::ConsecutiveFailures => config(
            "RULES, outlierDetection: {consecutiveFailures: 3}",
            "RULES, outlierDetection: {consecutiveFailures: 4}",
        ),
        Feature::FailurePercentage => config(
            "RULES, outlierDetection: {failurePercentage: 30}",
            "RULES, outlierDetection: {failurePercentage: 40}",
        ),
        Feature::ConsecutiveErrors => config(
            "RULES, outlierDetection: {consecutive5xx: 3, consecutiveGatewayErrors: 3}",
            "RULES, outlierDetection: {consecutive5xx: 4, consecutiveGatewayErrors: 4}",
        ),
        Feature::ConnectTimeout => config("RULES", "RULES, timeouts: {connect: 1s}"),
        Feature::IdleTimeout => config("RULES", "RULES, timeouts: {idle: 30s}"),
        Feature::ConnectRetry => config("RULES", "RULES, retry: {attempts: 2}"),
        Feature::Acceleration => config("RULES", "RULES, acceleration: On"),
    }
}

fn read(Example(service, before, after): Example) -> (Objects, Objects) {
    let full = |text: &str| {
        let rules = "trafficRules: [{TO, FAULT}]";
        text.replace("RULES", rules).replace("TO", TO).replace("FAULT", RULE)
    };
    if let Some(base) = before.strip_prefix("RULE").filter(|rest| !rest.starts_with('S')) {
        let comma = if base.is_empty() { "" } else { "," };
        let rules = |what: &str| {
            // Without a match there has to be a rule for the rest.
            full(&format!("trafficRules: [{{TO, FAULT{what}}}]"))
        };
        let matched = after.starts_with("match");
        let after = if matched {
            full(&format!("trafficRules: [{{TO, FAULT, {after}}}, {{TO, FAULT}}]"))
        } else {
            rules(&format!(", {after}"))
        };
        return (objects("", &rules(&format!("{comma}{base}"))), objects(service, &after));
    }
    (objects("", &full(before)), objects(service, &full(after)))
}

#[test]
fn what_is_ignored_changes_nothing_and_all_else_does() {
    let mut wrong = Vec::new();
    for feature in Feature::ALL {
        let Some(example) = example(feature) else { continue };
        let (without, with) = read(example);
        for client in [Client::Envoy, Client::Grpc] {
            let same = sent(&without, client) == sent(&with, client);
            let support = feature.support(client);
            let ignored = matches!(support, Support::Ignored(_));
            if same != ignored {
                wrong.push(format!("{feature:?} of {client:?}: {support:?}, same: {same}"));
            }
        }
        let service = with.services.values().next().unwrap();
        let used = features(service, with.configs.values().next().unwrap());
        if !used.iter().any(|(_, it)| *it == feature) {
            wrong.push(format!("{feature:?} is not seen in {used:?}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn all_features_are_there_once() {
    let all: BTreeSet<_> = Feature::ALL.into_iter().collect();
    assert_eq!(all.len(), Feature::ALL.len());
}

#[test]
fn gaps_have_the_path_of_their_field() {
    let with = objects(
        "",
        "trafficRules: [{match: {path: {value: /x}}, destination: {version: v1}, timeout: 1s, \
         rewrite: {hostname: b}}, {destination: {version: v1}, weight: 1}], \
         retry: {attempts: 2}, drainTimeout: 1s",
    );
    let (service, config) =
        (with.services.values().next().unwrap(), with.configs.values().next().unwrap());
    let fields = |client| -> Vec<String> {
        gaps(service, config, client).into_iter().map(|gap| gap.field).collect()
    };
    assert_eq!(fields(Client::Kernel), [""; 0]);
    assert_eq!(fields(Client::Envoy), ["spec.drainTimeout", "spec.retry"]);
    let grpc = ["spec.trafficRules[0].rewrite", "spec.drainTimeout", "spec.retry"];
    assert_eq!(fields(Client::Grpc), grpc);
}

#[test]
fn the_page_is_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/capabilities.md");
    if std::env::var_os("MESH_BLESS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "write docs/capabilities.md anew with MESH_BLESS=1");
}
