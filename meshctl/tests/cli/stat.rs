//! `stat` against a control plane of this test's, which says what it is told to.

use std::io::{BufRead as _, BufReader};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use mesh_api::wire;
use mesh_api::wire::telemetry_server::{Telemetry, TelemetryServer};
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::run::{NOWHERE, command, run, signal};

/// Answers with one service that has 7 more connections each time it is asked.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<wire::StatRequest>>>,
    empty: bool,
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::StatResponse, Status>> + Send>>;

impl Fake {
    fn answer(&self, n: u64) -> wire::StatResponse {
        if self.empty {
            return wire::StatResponse::default();
        }
        let counts = |opened| Some(wire::Traffic { opened, ..wire::Traffic::default() });
        let service = wire::Edge {
            namespace: "default".to_owned(),
            service: "reviews".to_owned(),
            ..wire::Edge::default()
        };
        wire::StatResponse {
            rows: vec![wire::StatRow {
                edge: Some(service),
                total: counts(7 * n),
                window: counts(7),
                window_ms: 1000,
                open: 7 * n,
            }],
            stale_nodes: vec!["node-b".to_owned()],
            series_omitted: 0,
        }
    }
}

#[tonic::async_trait]
impl Telemetry for Fake {
    type WatchStream = Answers;

    async fn stat(
        &self,
        request: Request<wire::StatRequest>,
    ) -> Result<Response<wire::StatResponse>, Status> {
        self.asked.lock().expect("lock").push(request.into_inner());
        Ok(Response::new(self.answer(1)))
    }

    async fn watch(
        &self,
        request: Request<wire::StatRequest>,
    ) -> Result<Response<Answers>, Status> {
        self.asked.lock().expect("lock").push(request.into_inner());
        // No more than a pipe holds whose reader has seen enough.
        let answers: Vec<_> = (1..6).map(|n| Ok(self.answer(n))).collect();
        let all = tokio_stream::iter(answers).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(all)))
    }

    async fn series(
        &self,
        _: Request<wire::SeriesRequest>,
    ) -> Result<Response<wire::SeriesResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

/// Serves these routes as long as the runtime lives.
fn serve(runtime: &Runtime, routes: Routes) -> String {
    let address = "127.0.0.1:0".parse().expect("an address");
    let incoming = runtime.block_on(async { TcpIncoming::bind(address) }).expect("bound");
    let server = format!("http://{}", incoming.local_addr().expect("an address"));
    runtime.spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
    server
}

#[test]
fn a_table_and_what_is_late() {
    let (runtime, fake) = (Runtime::new().expect("runtime"), Fake::default());
    let server = serve(&runtime, Routes::new(TelemetryServer::new(fake.clone())));
    let said = run(&server, &["stat", "svc/reviews", "--window", "2s"]).code(0);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = said.out.lines().map(words).collect();
    assert_eq!(lines[0][..3], ["SERVICE", "OPEN", "CONN/S"]);
    assert_eq!(lines[1], ["reviews", "7", "7", "0", "0", "0", "0", "-", "0"]);
    assert_eq!(said.err, "node-b is late to report: that part of the numbers is old\n");
    let json = run(&server, &["stat", "-o", "json"]).quiet();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["rows"][0]["total"]["opened"], 7);
    assert_eq!(json["staleNodes"][0], "node-b");
    assert!(run(&server, &["stat", "-o", "yaml"]).quiet().contains("opened: 7"));
    assert_eq!(run(&server, &["stat", "-o", "name"]).quiet(), "service/reviews\n");
    let asked = fake.asked.lock().expect("lock").clone();
    assert_eq!((asked[0].service.as_str(), asked[0].window_ms), ("reviews", 2000));
    assert_eq!((asked[1].service.as_str(), asked[1].window_ms), ("", 10_000));
}

#[test]
fn a_watch_goes_on_until_it_is_interrupted() {
    let runtime = Runtime::new().expect("runtime");
    let server = serve(&runtime, Routes::new(TelemetryServer::new(Fake::default())));
    let args = ["stat", "-w", "-o", "json", "--every", "250ms"];
    let mut child = command(&server, &args).spawn().expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for n in 1..4 {
        let line = lines.next().expect("a line").expect("UTF-8");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["rows"][0]["open"], 7 * n);
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}

#[test]
fn nothing_known_is_said_in_words() {
    let runtime = Runtime::new().expect("runtime");
    let fake = Fake { empty: true, ..Fake::default() };
    let server = serve(&runtime, Routes::new(TelemetryServer::new(fake)));
    let said = run(&server, &["stat", "edge"]).code(0);
    assert_eq!(said.out, "");
    assert!(said.err.starts_with("no traffic is known yet: agents report it"), "{said:?}");
}

#[test]
fn a_control_plane_that_gathers_no_traffic_is_told_apart() {
    let runtime = Runtime::new().expect("runtime");
    let server = serve(&runtime, Routes::default());
    for args in [&["stat"][..], &["stat", "--watch"]] {
        let said = run(&server, args).code(1);
        assert_eq!(said.out, "");
        assert_eq!(
            said.err,
            "error: the control plane does not gather traffic: it is older than this meshctl\n"
        );
    }
}

#[test]
fn usage_and_absence_have_their_codes() {
    for args in [
        &["stat", "pod", "a"][..],
        &["stat", "--window", "1ms"],
        &["stat", "--sort", "age"],
        &["stat", "-w", "--every", "1ms"],
        &["stat", "-n", "Wrong"],
        &["stat", "node", "a", "--node", "b"],
        &["top", "--every", "1ms"],
        &["top", "--window", "2h"],
    ] {
        run(NOWHERE, args).code(2);
    }
    run(NOWHERE, &["stat"]).code(3);
}

#[test]
fn top_without_a_terminal_names_what_works_without() {
    let said = run(NOWHERE, &["top"]).code(2);
    assert_eq!(said.out, "");
    assert_eq!(said.err, "error: top needs a terminal: use `meshctl stat --watch`\n");
}
