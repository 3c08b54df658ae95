//! What `describe` says of traffic, and of a node, from a real control plane that a node has reported to.

use mesh_api::wire;

use crate::control::{Control, REVIEWS};

fn edge(from: &str, version: &str, opened: u64, failed: u64) -> wire::EdgeTraffic {
    let edge = wire::Edge {
        reporter: wire::Reporter::Source.into(),
        transport: wire::Transport::Tcp.into(),
        source_workload: from.to_owned(),
        source_node: "n1".to_owned(),
        namespace: "default".to_owned(),
        service: "reviews".to_owned(),
        version: version.to_owned(),
        ..wire::Edge::default()
    };
    let traffic = wire::Traffic {
        attempts: opened + failed,
        opened,
        closed: opened,
        failed,
        failures: vec![wire::Cause { name: "refused".to_owned(), count: failed }],
        refused: failed,
        refusals: vec![wire::Cause { name: "max_connections".to_owned(), count: failed }],
        ..wire::Traffic::default()
    };
    wire::EdgeTraffic { edge: Some(edge), traffic: Some(traffic) }
}

/// The words of the line that begins so.
fn line(text: &str, begins: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.trim_start().starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no {begins:?} in\n{text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

const IGNORED: &str = "
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: orders},
 spec: {vips: [10.96.0.11], ports: [{name: grpc, port: 80, appProtocol: grpc}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: orders-1},
 spec: {service: orders, address: 10.0.0.9}}
---
{apiVersion: mesh.dev/v1alpha1, kind: ServiceConfig, metadata: {name: orders},
 spec: {timeouts: {request: 1s}, drainTimeout: 5s}}
";

/// What `apply` has said is not forgotten.
#[test]
fn what_some_clients_ignore_is_a_section() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    control.apply(IGNORED, &[]).code(0);
    let text = control.run(&["describe", "svc", "reviews"]).quiet();
    assert!(!text.contains("\nWarnings:"), "{text}");
    for kind in ["svc", "sc"] {
        let text = control.run(&["describe", kind, "orders"]).quiet();
        let (_, warnings) = text.split_once("\nWarnings:\n").expect(&text);
        for said in ["spec.drainTimeout", "Envoy, where", "gRPC clients without a proxy"] {
            assert!(warnings.contains(said), "{said}: {warnings}");
        }
    }
}

#[test]
fn traffic_is_a_section_where_there_is_any() {
    let control = Control::start();
    control.apply(REVIEWS, &[]).quiet();
    for args in [["describe", "svc/reviews"], ["describe", "ep/one"]] {
        let text = control.run(&args).quiet();
        assert!(!text.contains("\nTraffic ("), "{text}");
    }
    let _node = control.node("n1");
    control.report(wire::ReportTrafficRequest {
        node: "n1".to_owned(),
        run: "r".to_owned(),
        sequence: 1,
        full: true,
        edges: vec![edge("nginx.service", "v1", 30, 2), edge("cron.service", "v2", 5, 0)],
        interval_ms: 60_000,
        ..wire::ReportTrafficRequest::default()
    });
    let text = control.run(&["describe", "svc/reviews"]).quiet();
    let total = "opened 35, closed 35, failed 2, refused 2, sent 0, received 0";
    assert_eq!(line(&text, "Total:")[1..].join(" "), total);
    assert_eq!(line(&text, "Failed by cause:").join(" "), "Failed by cause: refused 2");
    let refused = line(&text, "Refused by cause:").join(" ");
    assert_eq!(refused, "Refused by cause: max_connections 2");
    line(&text, "nginx.service");
    line(&text, "cron.service");
    let text = control.run(&["describe", "ep/two"]).quiet();
    assert!(text.contains("\nTraffic (of all of version v2; rates of "), "{text}");
    assert_eq!(line(&text, "Total:")[2], "5,");
    // What goes into `apply` again stays as it is.
    let json = control.run(&["describe", "svc/reviews", "-o", "json"]).quiet();
    assert_eq!(json, control.run(&["get", "svc/reviews", "-o", "json"]).quiet());
}

#[test]
fn a_node_is_described_with_its_sync_state_and_its_clients_traffic() {
    let control = Control::start();
    let node = control.node("n1");
    node.refuse();
    control.apply(REVIEWS, &[]).quiet();
    control.report(wire::ReportTrafficRequest {
        node: "n1".to_owned(),
        run: "r".to_owned(),
        sequence: 1,
        full: true,
        edges: vec![edge("nginx.service", "v1", 30, 0)],
        interval_ms: 60_000,
        ..wire::ReportTrafficRequest::default()
    });
    let text = control.run(&["describe", "node", "n1"]).quiet();
    assert_eq!(line(&text, "Name:"), ["Name:", "n1"]);
    assert_eq!(line(&text, "Version:"), ["Version:", "9.9.9"]);
    // It takes no commands.
    assert_eq!(line(&text, "Open connections:").join(" "), "Open connections: not known");
    assert_eq!(line(&text, "default")[1], "reviews");
    let json = control.run(&["describe", "node/n1", "-o", "json"]).quiet();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["traffic"]["total"]["opened"], 30);
    assert_eq!((&json["node"], &json["openConnections"]), (&"n1".into(), &().into()));
    control.run(&["describe", "node/other"]).code(4);
    control.run(&["describe", "node"]).code(2);
}
