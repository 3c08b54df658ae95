//! The page over real sockets.

use std::net::SocketAddr;

use mesh_api::wire;
use mesh_api::wire::health_reports_client::HealthReportsClient;
use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Web;
use crate::config::Switch;
use crate::testing::{
    PATIENCE, Running, at, on_node, wire_check, wire_config, wire_endpoint, wire_service,
};

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

async fn open(address: SocketAddr, path: &str, more: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: mesh\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

async fn get_with(address: SocketAddr, path: &str, more: &str) -> Answer {
    let mut text = String::new();
    let read = async { open(address, path, more).await.read_to_string(&mut text).await };
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, "").await
}

/// A page without a control plane behind it.
async fn files(switch: Switch) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Web::new(CancellationToken::new()).router(switch);
    let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, served)
}

/// Everything in quotes after any of these.
fn quoted<'a>(text: &'a str, after: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let found = after.iter().flat_map(|after| text.split(after).skip(1));
    found.filter_map(|rest| rest.split('"').next())
}

#[tokio::test]
async fn the_page_has_all_its_files_and_needs_no_others() {
    let (address, served) = files(Switch::On).await;
    let index = get(address, "/").await;
    assert_eq!((index.code, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let mut waiting: Vec<String> = quoted(&index.body, &["src=\"", "href=\"/"])
        .map(|it| format!("/{}", it.trim_start_matches('/')))
        .collect();
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let file = get(address, &path).await;
        assert_eq!(file.code, 200, "{path}");
        let kind = match path.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{path}: what is {other}?"),
        };
        assert_eq!(file.header("content-type"), Some(kind), "{path}");
        if path.starts_with("/web/js/") {
            waiting.extend(quoted(&file.body, &["from \"./"]).map(|it| format!("/web/js/{it}")));
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!file.body.contains(word), "{path}: {word}");
            }
        }
        if !path.starts_with("/web/vendor/") {
            let text = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{path} names another place");
        }
        seen.push(path);
    }
    seen.sort();
    let mut known: Vec<_> = super::assets::paths().filter(|path| *path != "/").collect();
    known.sort_unstable();
    assert_eq!(seen, known, "files that nobody loads");
    assert_eq!(get(address, "/web/js/none.js").await.code, 404);
    assert_eq!(get(address, "/web/").await.code, 404);
    served.abort();
}

#[tokio::test]
async fn nothing_runs_that_is_not_a_file_of_the_page() {
    let (address, served) = files(Switch::On).await;
    for path in ["/", "/web/js/app.js"] {
        let answer = get(address, path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("data:"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let index = get(address, "/").await.body;
    for inline in ["<script>", "<style", " style=\"", " onclick="] {
        assert!(!index.contains(inline), "{inline}");
    }
    served.abort();
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let (address, served) = files(Switch::On).await;
    let first = get(address, "/web/style.css").await;
    let tag = first.header("etag").unwrap();
    for has in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let again = get_with(address, "/web/style.css", &format!("if-none-match: {has}\r\n")).await;
        assert_eq!((again.code, again.body.as_str()), (304, ""), "{has}");
        assert_eq!(again.header("etag"), Some(tag));
    }
    let other = get_with(address, "/web/style.css", "if-none-match: \"x\"\r\n").await;
    assert_eq!((other.code, other.body == first.body), (200, true));
    assert_ne!(get(address, "/").await.header("etag"), Some(tag));
    served.abort();
}

#[tokio::test]
async fn before_the_store_is_open_there_are_files_only() {
    let (address, served) = files(Switch::On).await;
    for path in ["mesh", "mesh/stream", "mesh/detail?node=n1"] {
        let answer = get(address, &format!("/api/v1/{path}")).await;
        assert_eq!(answer.code, 503, "{path}");
        assert!(answer.body.contains("starting"), "{}", answer.body);
    }
    served.abort();
}

#[tokio::test]
async fn switched_off_there_is_nothing() {
    let (address, served) = files(Switch::Off).await;
    for path in ["/", "/web/style.css", "/api/v1/mesh"] {
        assert_eq!(get(address, path).await.code, 404, "{path}");
    }
    served.abort();
}

/// Two services, of which one is checked and has been connected to from node n1.
async fn reported() -> Running {
    let mut control = Running::start().await;
    let objects = vec![
        wire_service("shop/web", "10.96.0.1", 80),
        wire_service("shop/db", "10.96.0.2", 5432),
        on_node(wire_endpoint("shop/web-1", "web", "v1"), "n1"),
        on_node(at(wire_endpoint("shop/web-2", "web", "v2"), "127.0.0.3"), "n1"),
        wire_check("shop/web", true),
        wire_config("shop/db", &[("web", "v1", 1)]),
    ];
    control.apply(objects).await.unwrap();
    let address = format!("http://{}", control.bound.grpc);
    let mut health = HealthReportsClient::connect(address.clone()).await.unwrap();
    let found = |name: &str, status: wire::HealthStatus| wire::EndpointReport {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        status: status.into(),
        reason: format!("reason of {name}"),
        ..wire::EndpointReport::default()
    };
    let guard = wire::GuardReport {
        namespace: "shop".to_owned(),
        service: "web".to_owned(),
        port: 80,
        endpoint: "shop/web-2".to_owned(),
        state: wire::GuardState::Ejected.into(),
        cause: "5 failed".to_owned(),
        ..wire::GuardReport::default()
    };
    let report = wire::ReportHealthRequest {
        node: "n1".to_owned(),
        full: true,
        endpoints: vec![
            found("web-1", wire::HealthStatus::Healthy),
            found("web-2", wire::HealthStatus::Unhealthy),
        ],
        guards: vec![guard],
        ttl_ms: 60_000,
        ..wire::ReportHealthRequest::default()
    };
    health.report(report).await.unwrap();
    traffic(&control, 1, 10).await;
    control
}

async fn traffic(control: &Running, sequence: u64, opened: u64) {
    let address = format!("http://{}", control.bound.grpc);
    let mut reports = TelemetryReportsClient::connect(address).await.unwrap();
    let edge = wire::Edge {
        reporter: wire::Reporter::Source.into(),
        source_workload: "<b>front".to_owned(),
        namespace: "shop".to_owned(),
        service: "web".to_owned(),
        version: "v1".to_owned(),
        ..wire::Edge::default()
    };
    let traffic = wire::Traffic { opened, closed: 4, ..wire::Traffic::default() };
    let request = wire::ReportTrafficRequest {
        node: "n1".to_owned(),
        run: "r".to_owned(),
        sequence,
        full: sequence == 1,
        edges: vec![wire::EdgeTraffic { edge: Some(edge), traffic: Some(traffic) }],
        interval_ms: 60_000,
        ..wire::ReportTrafficRequest::default()
    };
    reports.report(request).await.unwrap();
}

#[tokio::test]
async fn the_mesh_is_services_nodes_and_edges() {
    let control = reported().await;
    let answer = get(control.bound.http, "/api/v1/mesh").await;
    assert_eq!((answer.code, answer.header("content-type")), (200, Some("application/json")));
    let mesh: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&mesh["full"], &mesh["revision"]), (&true.into(), &1.into()));
    assert_eq!((&mesh["endpoints"], &mesh["service_configs"]), (&2.into(), &2.into()));
    let web = &mesh["services"]["put"]["shop/web"];
    assert_eq!((&web["endpoints"], &web["ejections"]), (&2.into(), &1.into()));
    assert_eq!((&web["healthy"], &web["unhealthy"]), (&1.into(), &1.into()));
    assert_eq!(
        (&web["ports"][0]["number"], &web["ports"][0]["target"]),
        (&80.into(), &8080.into())
    );
    assert_eq!(web["versions"], serde_json::json!(["v1", "v2"]));
    assert_eq!(mesh["services"]["put"]["shop/db"]["endpoints"], 0);
    let node = &mesh["nodes"]["put"]["n1"];
    assert_eq!((&node["state"], &node["report"]["run"]), (&"unknown".into(), &"r".into()));
    let edge = &mesh["edges"]["put"]["shop/web <b>front"];
    assert_eq!((&edge["total"]["opened"], &edge["open"]), (&10.into(), &6.into()));
    control.stop().await;
}

/// The next event's name and data.
async fn event(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let read = async {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream has ended");
            if let Some(it) = line.strip_prefix("event: ") {
                it.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn events_are_all_once_and_then_what_changes_until_the_shutdown() {
    let mut control = reported().await;
    let mut stream = open(control.bound.http, "/api/v1/mesh/stream", "").await;
    let (name, first) = event(&mut stream).await;
    assert_eq!((name.as_str(), &first["full"]), ("mesh", &true.into()));
    assert!(first["services"]["put"]["shop/web"].is_object());

    traffic(&control, 2, 25).await;
    control.apply(vec![wire_service("shop/new", "10.96.0.3", 80)]).await.unwrap();
    let (mut opened, mut new) = (false, false);
    while !(opened && new) {
        let (_, next) = event(&mut stream).await;
        assert_eq!(next["full"], false);
        assert!(next["services"]["put"].get("shop/db").is_none(), "it has not changed");
        opened |= next["edges"]["put"]["shop/web <b>front"]["total"]["opened"] == 25;
        new |= next["services"]["put"]["shop/new"].is_object();
    }
    let gone = wire::ObjectRef {
        kind: wire::Kind::Service.into(),
        namespace: "shop".to_owned(),
        name: "new".to_owned(),
    };
    let request = wire::DeleteRequest { objects: vec![gone], ..wire::DeleteRequest::default() };
    control.api.delete(request).await.unwrap();
    while event(&mut stream).await.1["services"].get("gone").is_none() {}
    // Ends although the stream is open.
    control.stop().await;
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn details_are_of_one_service_or_one_node() {
    let control = reported().await;
    let http = control.bound.http;
    let mut stream = open(http, "/api/v1/mesh/detail?service=shop/web&range=5m", "").await;
    let (name, detail) = event(&mut stream).await;
    assert_eq!((name.as_str(), &detail["exists"]), ("detail", &true.into()));
    // Those that are not well first.
    let ill = &detail["endpoints"][0];
    assert_eq!((&ill["name"], &ill["health"]), (&"web-2".into(), &"unhealthy".into()));
    assert_eq!((&ill["reason"], &ill["node"]), (&"reason of web-2".into(), &"n1".into()));
    assert_eq!(detail["endpoints"][1]["health"], "healthy");
    assert_eq!(detail["guards"][0]["state"], "ejected");
    assert_eq!(detail["versions"][0]["version"], "v1");
    let (name, series) = event(&mut stream).await;
    assert_eq!((name.as_str(), &series["step_ms"]), ("series", &2_000.into()));

    let mut stream = open(http, "/api/v1/mesh/detail?node=n1", "").await;
    let (_, detail) = event(&mut stream).await;
    assert_eq!(detail["edges"][0]["source_workload"], "<b>front");
    assert_eq!(detail["endpoints"].as_array().unwrap().len(), 2);

    for (query, says) in [
        ("service=web", "web"),
        ("node=", "node"),
        ("service=shop/web&range=1s", "1m to 24h"),
        ("node=n1&range=soon", "1m to 24h"),
    ] {
        let answer = get(http, &format!("/api/v1/mesh/detail?{query}")).await;
        assert_eq!(answer.code, 400, "{query}");
        assert!(answer.body.contains(says), "{query}: {}", answer.body);
    }
    control.stop().await;
}
