//! `health`, and what `describe` and `get` say about health checks, breakers and ejections.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mesh_api::wire;
use mesh_api::wire::health_reports_client::HealthReportsClient;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::control::Control;
use crate::run::{command, run, signal};

const WEB: &str = include_str!("../../../demo/web.yaml");
const RESILIENCE: &str = include_str!("../../../demo/web-resilience.yaml");

#[test]
fn the_example_is_applied_and_described() {
    let control = Control::start();
    control.apply(&format!("{WEB}---\n{RESILIENCE}"), &[]).quiet();
    let wide = control.run(&["get", "sc", "-o", "wide"]).quiet();
    let cells = "HTTP/1s        connections=1000,endpoint-failures=5   consecutive=3   \
                 connect=1s,idle=10m,attempts=2   ";
    assert!(wide.contains(cells), "{wide}");
    for kind in ["svc/web", "sc/web"] {
        let described = control.run(&["describe", kind]).quiet();
        for line in [
            "Health check:        HTTP GET /healthz, status 200-299, every 1s ±10%, timeout 500ms; \
             unhealthy after 3 failed, healthy after 2 passed, healthy before\n",
            "Circuit breaker:     at most 1000 connections at a time\n",
            "- per endpoint:      open for 5s after 5 failed connects within 10s, then 1 trial\n",
            "Outlier detection:   ejected for 10s, longer each time up to 2m after 3 failed \
             connects in a row; at most 50% of the endpoints at a time\n",
            "Timeouts:            connect 1s, idle 10m, SYN sent again 2 times; first after 200ms\n",
            "Slow start:          30s\n",
            "Panic:               below 40% healthy, health is ignored\n",
        ] {
            assert!(described.contains(line), "{line}{described}");
        }
    }
}

#[test]
fn a_control_plane_that_gathers_no_health_is_told_apart() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let address = "127.0.0.1:0".parse().expect("an address");
    let incoming = runtime.block_on(async { TcpIncoming::bind(address) }).expect("bound");
    let server = format!("http://{}", incoming.local_addr().expect("an address"));
    runtime.spawn(Server::builder().add_routes(Routes::default()).serve_with_incoming(incoming));
    for args in [&["health"][..], &["health", "--watch"]] {
        let run = run(&server, args).code(1);
        assert_eq!(run.out, "");
        assert_eq!(
            run.err,
            "error: the control plane does not gather health: it is older than this meshctl\n"
        );
    }
}

/// A service with a health check, and two endpoints on node-a, which is no agent's.
const CHECKED: &str = "
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: reviews},
 spec: {vips: [10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: ServiceConfig, metadata: {name: reviews},
 spec: {healthCheck: {tcp: {}, interval: 1h}, outlierDetection: {}}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: one},
 spec: {service: reviews, address: 10.0.0.1, node: node-a}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: two},
 spec: {service: reviews, address: 10.0.0.2, node: node-a}}
";

/// Says as the agent of node-a which endpoints are unhealthy and which are ejected.
fn report(control: &Control, unhealthy: &[&str], ejected: &[&str]) {
    let endpoint = |name: &str| {
        let bad = unhealthy.contains(&name);
        let status = if bad { wire::HealthStatus::Unhealthy } else { wire::HealthStatus::Healthy };
        wire::EndpointReport {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            status: status.into(),
            reason: if bad { "connect: Connection refused" } else { "" }.to_owned(),
            since_ms: 3_610_000,
            latency_us: 850,
        }
    };
    let guard = |name: &&str| wire::GuardReport {
        namespace: "default".to_owned(),
        service: "reviews".to_owned(),
        port: 80,
        endpoint: (*name).to_owned(),
        state: wire::GuardState::Ejected.into(),
        cause: "5 failed connects in a row".to_owned(),
        since_ms: 3_610_000,
        remaining_ms: 600_000,
    };
    let request = wire::ReportHealthRequest {
        node: "node-a".to_owned(),
        full: true,
        endpoints: vec![endpoint("one"), endpoint("two")],
        guards: ejected.iter().map(guard).collect(),
        ttl_ms: 600_000,
        ..wire::ReportHealthRequest::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let client = HealthReportsClient::connect(control.server.clone()).await;
        client.expect("connected").report(request).await.expect("taken");
    });
}

#[test]
fn health_and_guards_are_listed_and_explained() {
    let control = Control::start();
    control.apply(CHECKED, &[]).quiet();
    report(&control, &["two"], &["one"]);
    let listed = control.run(&["health"]).quiet();
    let line = |name: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = listed.lines().map(words);
        lines.find(|words| words.get(1).is_some_and(|it| it == name)).expect("a line").join(" ")
    };
    assert!(line("one").starts_with("default one reviews Healthy 1h agent node-a 850µs"));
    assert_eq!(
        line("two"),
        "default two reviews Unhealthy 1h agent node-a 850µs connect: Connection refused"
    );
    assert!(listed.contains("node-a   default     reviews   80     one        Ejected   1h"));
    assert_eq!(
        control.run(&["health", "reviews", "--unhealthy", "-o", "name"]).quiet(),
        "endpoint/two\n"
    );
    let json = control.run(&["health", "svc/reviews", "-o", "json"]).quiet();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["endpoints"][1]["status"], "Unhealthy");
    assert_eq!(json["guards"][0]["cause"], "5 failed connects in a row");
    assert!(control.run(&["health", "-o", "yaml"]).quiet().contains("state: Ejected"));

    let described = control.run(&["describe", "svc/reviews"]).quiet();
    for said in [
        "yes, but not everywhere: ejected on node node-a (port 80) for another ",
        "no: unhealthy for 1h (agent node-a): connect: Connection refused\n",
        "\nBreakers that are not closed, and ejections",
    ] {
        assert!(described.contains(said), "{said}: {described}");
    }
    let endpoint = control.run(&["describe", "ep/two"]).quiet();
    assert!(endpoint.contains("Health:          unhealthy for 1h (agent node-a): connect: "));
    let status = control.run(&["status"]).quiet();
    assert!(status.contains("\nHealth: 1 endpoint unhealthy, 1 ejection (meshctl health"));
    assert_eq!(control.run(&["health", "-n", "shop"]).code(0).out, "");
}

#[test]
fn what_there_is_not_is_no_good_health() {
    let control = Control::start();
    control.run(&["health", "nothing"]).code(4);
    control.run(&["health", "nothing", "--watch"]).code(4);
    control.run(&["health", "ep/one"]).code(2);
    control.run(&["health", "-n", "Wrong"]).code(2);
    let run = control.run(&["health"]).code(0);
    assert_eq!(run.out, "");
    assert_eq!(
        run.err,
        "no endpoint in any namespace is checked: a ServiceConfig with a healthCheck asks for it\n"
    );
}

/// The lines of a command that goes on.
fn lines(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            // Nobody listens any more where the test has failed.
            sender.send(line.expect("UTF-8")).ok();
        }
    });
    lines
}

/// Ends with the test.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_watch_shows_changes_also_after_a_restart_of_the_control_plane() {
    let mut control = Control::start();
    control.apply(CHECKED, &[]).quiet();
    report(&control, &["two"], &[]);
    let args = ["health", "reviews", "--watch", "-o", "json"];
    let mut watch = Watch(command(&control.server, &args).spawn().expect("runs"));
    let lines = lines(watch.0.stdout.take().expect("piped"));
    let next = |event: &str, path: &str, value: &str| {
        let line = lines.recv_timeout(Duration::from_secs(20)).expect("a line");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&json["event"], json.pointer(path)), (&event.into(), Some(&value.into())));
    };
    next("HEALTH", "/endpoint/status", "Healthy");
    next("HEALTH", "/endpoint/status", "Unhealthy");
    report(&control, &[], &[]);
    next("HEALTH", "/endpoint/name", "two");
    report(&control, &[], &["one"]);
    next("GUARD", "/guard/state", "Ejected");
    report(&control, &[], &[]);
    next("GUARD-ENDED", "/guard/endpoint", "one");

    control = control.restart();
    report(&control, &["one"], &[]);
    // Not to know for a while was no change, and nothing is shown twice.
    next("HEALTH", "/endpoint/name", "one");
    control.run(&["delete", "ep/two"]).quiet();
    next("REMOVED", "/endpoint/name", "two");
    signal(&watch.0, "-INT");
    assert_eq!(watch.0.wait().expect("ends").code(), Some(130));
}
