//! Reports to a real server, which loses answers, goes away, or cannot decompress.

use std::collections::BTreeMap;
use std::sync::Mutex;

use mesh_api::wire::telemetry_reports_server::{TelemetryReports, TelemetryReportsServer};
use mesh_common::counter::BackendCounters;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response, Status};

use super::*;
use crate::edges;
use crate::ledger::Account;

const DEADLINE: Duration = Duration::from_secs(30);

/// Hands on what it gets; answers what it is told to, first come, first served.
struct Server {
    reports: UnboundedSender<ReportTrafficRequest>,
    answers: Mutex<Vec<Result<ReportTrafficResponse, Code>>>,
}

#[tonic::async_trait]
impl TelemetryReports for Server {
    async fn report(
        &self,
        request: Request<ReportTrafficRequest>,
    ) -> Result<Response<ReportTrafficResponse>, Status> {
        let answer = self.answers.lock().unwrap().pop();
        self.reports.send(request.into_inner()).unwrap();
        let answer = answer.unwrap_or_else(|| Ok(ReportTrafficResponse::default()));
        answer.map(Response::new).map_err(|code| Status::new(code, "not now"))
    }
}

/// Counters that a test moves.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<Account, BackendCounters>>>);

impl Counters {
    fn set(&self, service: &str, opened: u64) {
        let account = Account::of_service(service.parse().unwrap());
        let counters = BackendCounters { opened, ..BackendCounters::default() };
        self.0.lock().unwrap().insert(account, counters);
    }
}

impl Source for Counters {
    async fn read(&self) -> Result<Option<Arc<Stats>>, String> {
        let totals = self.0.lock().unwrap().clone();
        let row = |(account, counters): (&Account, &BackendCounters)| {
            let row = edges::Row { counters: *counters, ..edges::Row::default() };
            ((edges::Source::Unknown, account.clone()), row)
        };
        let edges = totals.iter().map(row).collect();
        Ok(Some(Arc::new(Stats { totals, edges, ..testing::stats() })))
    }

    fn moves_told(&self, _: u64) {}
}

struct Reported {
    reports: UnboundedReceiver<ReportTrafficRequest>,
    counters: Counters,
    line: watch::Sender<Line>,
    _tasks: JoinSet<()>,
}

/// `answers`: the last is given first.
async fn start(gzip: bool, answers: Vec<Result<ReportTrafficResponse, Code>>) -> Reported {
    let (reports, receiver) = unbounded_channel();
    let mut server = TelemetryReportsServer::new(Server { reports, answers: answers.into() });
    if gzip {
        server = server.accept_compressed(CompressionEncoding::Gzip);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let serving = tonic::transport::Server::builder().add_service(server);
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn(async move { serving.await.unwrap() });
    let (line, line_watch) = watch::channel(Line::default());
    let counters = Counters::default();
    counters.set("prod/a", 1);
    let reporter = Reporter {
        endpoint: Endpoint::from_shared(uri).unwrap(),
        node: "n1".to_owned(),
        line: line_watch,
        source: counters.clone(),
        interval: Duration::from_millis(1),
        figures: watch::Sender::new(Figures::default()),
    };
    tasks.spawn(async move { drop(reporter.run(|| 0.0).await) });
    Reported { reports: receiver, counters, line, _tasks: tasks }
}

impl Reported {
    async fn next(&mut self) -> ReportTrafficRequest {
        let report = timeout(DEADLINE, self.reports.recv()).await.unwrap().unwrap();
        assert_eq!(report.node, "n1");
        report
    }

    /// What the next report with an edge says.
    async fn next_opened(&mut self) -> (bool, Vec<(String, u64)>) {
        loop {
            let report = self.next().await;
            let edges = report.edges.into_iter();
            let edge = |it: mesh_api::wire::EdgeTraffic| {
                (it.edge.unwrap().service, it.traffic.unwrap().opened)
            };
            let edges: Vec<_> = edges.map(edge).collect();
            if !edges.is_empty() {
                return (report.full, edges);
            }
        }
    }
}

fn opened(edges: &[(&str, u64)]) -> Vec<(String, u64)> {
    edges.iter().map(|(service, opened)| ((*service).to_owned(), *opened)).collect()
}

#[tokio::test]
async fn all_at_first_and_on_a_new_stream_and_changes_between() {
    let mut reported = start(true, Vec::new()).await;
    assert_eq!(reported.next_opened().await, (true, opened(&[("a", 1)])));
    reported.counters.set("prod/b", 2);
    assert_eq!(reported.next_opened().await, (false, opened(&[("b", 2)])));
    reported.line.send_modify(|line| {
        line.connected = true;
        line.streams += 1;
    });
    assert_eq!(reported.next_opened().await, (true, opened(&[("a", 1), ("b", 2)])));
}

#[tokio::test]
async fn what_is_not_known_to_have_arrived_is_said_again() {
    let wish = ReportTrafficResponse { send_all: true, interval_ms: 300 };
    let mut reported = start(true, vec![Ok(wish), Err(Code::DeadlineExceeded)]).await;
    let first = reported.next().await;
    let second = reported.next().await;
    assert_eq!((first.run.len(), first.sequence, second.sequence), (16, 1, 2));
    assert_eq!((&second.run, &second.edges), (&first.run, &first.edges));
    let third = reported.next().await;
    assert!(third.full);
    assert_eq!((third.edges, third.interval_ms), (first.edges, 300));
}

#[tokio::test]
async fn who_cannot_decompress_gets_it_as_it_is() {
    let mut reported = start(false, Vec::new()).await;
    assert_eq!(reported.next_opened().await, (true, opened(&[("a", 1)])));
}
