//! Reports of real checks to a real server.

use mesh_api::wire::health_reports_server::{HealthReports, HealthReportsServer};
use mesh_health::checker::{Checker, Settings};
use mesh_health::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Response, Status as Refusal};

use super::*;
use crate::health::testing::target;

const DEADLINE: Duration = Duration::from_secs(30);

/// Hands on what it gets; answers what it is told to, first come, first served.
struct Server {
    reports: UnboundedSender<wire::ReportHealthRequest>,
    answers: std::sync::Mutex<Vec<Result<bool, Code>>>,
}

#[tonic::async_trait]
impl HealthReports for Server {
    async fn report(
        &self,
        request: Request<wire::ReportHealthRequest>,
    ) -> Result<Response<wire::ReportHealthResponse>, Refusal> {
        let answer = self.answers.lock().unwrap().pop().unwrap_or(Ok(false));
        self.reports.send(request.into_inner()).unwrap();
        let send_all = answer.map_err(|code| Refusal::new(code, "not now"))?;
        Ok(Response::new(wire::ReportHealthResponse { send_all }))
    }
}

struct Reported {
    reports: UnboundedReceiver<wire::ReportHealthRequest>,
    handle: Handle,
    changed: watch::Sender<u64>,
    line: watch::Sender<Line>,
    guards: watch::Sender<Arc<Vec<wire::GuardReport>>>,
    checker: AbortHandle,
    tasks: JoinSet<()>,
}

/// `answers`: the last is given first.
async fn start(answers: Vec<Result<bool, Code>>) -> Reported {
    let (reports, receiver) = unbounded_channel();
    let server = HealthReportsServer::new(Server { reports, answers: answers.into() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let serving = tonic::transport::Server::builder().add_service(server);
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn(async move { serving.await.unwrap() });
    let settings =
        Settings { most: 8, prepare: None, metrics: Metrics::default(), random01: || 0.0 };
    let (handle, checker, mut events) = Checker::new(settings);
    let checker = tasks.spawn(checker.run());
    let (changed, changed_watch) = watch::channel(0);
    let counting = changed.clone();
    tasks.spawn(async move {
        while events.recv().await.is_some() {
            counting.send_modify(|count| *count += 1);
        }
    });
    let (line, line_watch) = watch::channel(Line::default());
    let (guards, guards_watch) = watch::channel(Arc::new(Vec::new()));
    let to = ReportTo {
        endpoint: Endpoint::from_shared(uri).unwrap(),
        node: "n1".to_owned(),
        line: line_watch,
        guards: guards_watch,
    };
    let reporter = Reporter { to, handle: handle.clone(), changed: changed_watch };
    tasks.spawn(async move { drop(reporter.run(|| 0.0).await) });
    Reported { reports: receiver, handle, changed, line, guards, checker, tasks }
}

impl Reported {
    fn connect(&self) {
        self.line.send_modify(|line| {
            line.connected = true;
            line.streams += 1;
        });
    }

    async fn next(&mut self) -> wire::ReportHealthRequest {
        let report = timeout(DEADLINE, self.reports.recv()).await.unwrap().unwrap();
        assert_eq!((report.node.as_str(), report.ttl_ms), ("n1", 15_000));
        report
    }

    async fn next_change(&mut self) -> wire::ReportHealthRequest {
        loop {
            let report = self.next().await;
            if !report.endpoints.is_empty() || !report.gone.is_empty() {
                return report;
            }
        }
    }
}

fn name(text: &str) -> ObjectName {
    format!("default/{text}").parse().unwrap()
}

#[tokio::test]
async fn all_on_a_new_stream_then_what_changes() {
    let mut reported = start(Vec::new()).await;
    reported.connect();
    let first = reported.next().await;
    assert!(first.full && first.endpoints.is_empty());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    reported
        .handle
        .change(vec![(name("a"), Some(target(address))), (name("b"), Some(target(address)))]);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let report = reported.next_change().await;
        assert!(!report.full);
        for it in report.endpoints {
            assert_eq!(it.status(), wire::HealthStatus::Healthy);
            assert!(it.reason.is_empty() && it.latency_us > 0);
            seen.push(it.name);
        }
    }
    reported.handle.change(vec![(name("b"), None)]);
    let report = reported.next_change().await;
    assert!(!report.full && report.endpoints.is_empty());
    assert_eq!(report.gone[0].name, "b");
    drop(listener);
    let report = reported.next_change().await;
    assert_eq!(report.endpoints[0].status(), wire::HealthStatus::Unhealthy);
    assert_eq!(report.endpoints[0].reason, "connect: Connection refused");
    reported.connect();
    let again = reported.next_change().await;
    assert!(again.full);
    assert_eq!(again.endpoints.iter().map(|it| &it.name).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn all_again_where_the_control_plane_asks_or_fails() {
    let mut reported = start(vec![Ok(false), Err(Code::Unavailable), Ok(true), Ok(false)]).await;
    reported.connect();
    assert!(reported.next().await.full);
    reported.changed.send_modify(|count| *count += 1);
    // This one is answered with the wish for all.
    assert!(!reported.next().await.full);
    // This one fails.
    assert!(reported.next().await.full);
    assert!(reported.next().await.full);
    reported.changed.send_modify(|count| *count += 1);
    assert!(!reported.next().await.full);
}

#[tokio::test]
async fn guards_go_along_and_silence_is_broken() {
    let mut reported = start(Vec::new()).await;
    reported.connect();
    assert!(reported.next().await.guards.is_empty());
    let guard = wire::GuardReport { service: "a".to_owned(), ..wire::GuardReport::default() };
    reported.guards.send_replace(Arc::new(vec![guard.clone()]));
    assert_eq!(reported.next().await.guards, std::slice::from_ref(&guard));
    // Nothing happens: a sign of life.
    let sign = reported.next().await;
    assert!(!sign.full && sign.endpoints.is_empty());
    assert_eq!(sign.guards, [guard]);
    reported.tasks.shutdown().await;
}

#[tokio::test]
async fn endpoints_are_not_gone_through_for_a_guard() {
    let mut reported = start(Vec::new()).await;
    reported.connect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    reported.handle.change(vec![(name("a"), Some(target(address)))]);
    assert_eq!(reported.next_change().await.endpoints[0].name, "a");
    // Whoever asks for statuses now finds none.
    reported.checker.abort();
    while !reported.handle.statuses().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let guard = wire::GuardReport { service: "a".to_owned(), ..wire::GuardReport::default() };
    reported.guards.send_replace(Arc::new(vec![guard.clone()]));
    let report = reported.next().await;
    assert_eq!(report.guards, std::slice::from_ref(&guard));
    assert!(!report.full && report.gone.is_empty(), "{report:?}");
    // Health is told with whatever else is new.
    reported.guards.send_replace(Arc::new(Vec::new()));
    reported.changed.send_modify(|count| *count += 1);
    let report = reported.next_change().await;
    assert_eq!(report.gone[0].name, "a");
}
