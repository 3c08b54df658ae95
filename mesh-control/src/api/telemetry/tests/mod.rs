//! Reports, questions and watches over real sockets.

mod http;

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_api::wire;
use mesh_api::wire::GroupBy;
use mesh_api::wire::telemetry_client::TelemetryClient;
use mesh_api::wire::telemetry_reports_client::TelemetryReportsClient;
use tonic::Code;
use tonic::transport::Channel;

use super::report;
use crate::testing::{PATIENCE, Running};

struct Clients {
    control: Running,
    reports: TelemetryReportsClient<Channel>,
    telemetry: TelemetryClient<Channel>,
}

async fn start() -> Clients {
    let control = Running::start().await;
    let address = format!("http://{}", control.bound.grpc);
    let reports = TelemetryReportsClient::connect(address.clone()).await.unwrap();
    let telemetry = TelemetryClient::connect(address).await.unwrap();
    Clients { control, reports, telemetry }
}

/// A client's workload, and the service, version and workload that it goes to.
fn edge(from: &str, service: &str, version: &str, workload: &str) -> wire::Edge {
    wire::Edge {
        reporter: wire::Reporter::Source.into(),
        transport: wire::Transport::Tcp.into(),
        source_workload: from.to_owned(),
        namespace: "shop".to_owned(),
        service: service.to_owned(),
        version: version.to_owned(),
        workload: workload.to_owned(),
        ..wire::Edge::default()
    }
}

fn traffic(opened: u64, closed: u64) -> wire::Traffic {
    wire::Traffic {
        attempts: opened + 2,
        opened,
        closed,
        failed: 2,
        bytes_sent: closed * 100,
        failures: vec![
            wire::Cause { name: "refused".to_owned(), count: 1 },
            wire::Cause { name: "timed_out".to_owned(), count: 1 },
        ],
        ..wire::Traffic::default()
    }
}

fn report(
    node: &str,
    sequence: u64,
    edges: Vec<(wire::Edge, wire::Traffic)>,
) -> wire::ReportTrafficRequest {
    let edges = edges
        .into_iter()
        .map(|(edge, traffic)| wire::EdgeTraffic { edge: Some(edge), traffic: Some(traffic) });
    wire::ReportTrafficRequest {
        node: node.to_owned(),
        run: "r".to_owned(),
        sequence,
        full: sequence == 1,
        edges: edges.collect(),
        interval_ms: 60_000,
        ..wire::ReportTrafficRequest::default()
    }
}

fn by(by: GroupBy) -> wire::StatRequest {
    wire::StatRequest { by: by.into(), ..wire::StatRequest::default() }
}

/// Two nodes, three clients, two services, one of which has two versions.
async fn reported() -> Clients {
    let mut it = start().await;
    let cause = |name: &str, count| wire::Cause { name: name.to_owned(), count };
    let refusals = vec![cause("breaker_open", 2), cause("of_tomorrow", 1)];
    let refused = wire::Traffic { refused: 4, refusals, ..wire::Traffic::default() };
    let first = vec![
        (edge("front", "web", "v1", "web-1"), traffic(10, 9)),
        (edge("front", "web", "v2", "web-2"), traffic(5, 5)),
        (edge("jobs", "web", "v1", "web-1"), traffic(3, 3)),
        (edge("", "web", "", ""), refused),
    ];
    let seen = wire::Edge {
        reporter: wire::Reporter::Destination.into(),
        ..edge("", "web", "v1", "web-1")
    };
    let second = vec![
        (edge("front", "web", "v1", "web-1"), traffic(100, 90)),
        (edge("web", "db", "", "db-1"), traffic(7, 7)),
        (seen, traffic(13, 12)),
    ];
    assert!(!it.reports.report(report("n1", 1, first)).await.unwrap().into_inner().send_all);
    it.reports.report(report("n2", 1, second)).await.unwrap();
    it
}

/// What rows are about, opened, open.
type Rows = Vec<(String, u64, u64)>;

async fn ask(it: &mut Clients, request: wire::StatRequest) -> Rows {
    let answer = it.telemetry.stat(request).await.unwrap().into_inner();
    let rows = answer.rows.into_iter().map(|row| {
        let edge = row.edge.unwrap();
        let about = [
            edge.source_workload,
            edge.source_node,
            edge.namespace,
            edge.service,
            edge.version,
            edge.workload,
        ];
        let about: Vec<String> = about.into_iter().filter(|text| !text.is_empty()).collect();
        (about.join(" "), row.total.unwrap().opened, row.open)
    });
    rows.collect()
}

fn rows(expected: &[(&str, u64, u64)]) -> Rows {
    expected.iter().map(|(about, opened, open)| ((*about).to_owned(), *opened, *open)).collect()
}

#[tokio::test]
async fn rows_are_what_was_asked_for_and_add_up() {
    let mut it = reported().await;
    let all = wire::StatRequest::default();
    assert_eq!(ask(&mut it, all.clone()).await, rows(&[("shop db", 7, 0), ("shop web", 118, 11)]));
    let node = ask(&mut it, by(GroupBy::Node)).await;
    assert_eq!(node, rows(&[("n1", 18, 1), ("n2", 107, 10)]));
    assert_eq!(
        ask(&mut it, by(GroupBy::Edge)).await,
        rows(&[
            ("web shop db", 7, 0),
            ("shop web", 0, 0),
            ("front shop web", 115, 11),
            ("jobs shop web", 3, 0),
        ])
    );
    let web = wire::StatRequest { service: "web".to_owned(), ..by(GroupBy::Version) };
    assert_eq!(
        ask(&mut it, web.clone()).await,
        rows(&[("shop web", 0, 0), ("shop web v1", 113, 11), ("shop web v2", 5, 0)])
    );
    let web = wire::StatRequest { node: "n1".to_owned(), by: GroupBy::Workload.into(), ..web };
    assert_eq!(
        ask(&mut it, web).await,
        rows(&[("shop web", 0, 0), ("shop web web-1", 13, 1), ("shop web web-2", 5, 0)])
    );
    let jobs = wire::StatRequest { source_workload: "jobs".to_owned(), ..all.clone() };
    assert_eq!(ask(&mut it, jobs).await, rows(&[("shop web", 3, 0)]));
    let seen = wire::StatRequest { reporter: wire::Reporter::Destination.into(), ..all.clone() };
    assert_eq!(ask(&mut it, seen).await, rows(&[("shop web", 13, 1)]));
    let nothing = wire::StatRequest { namespace: "x".to_owned(), ..all.clone() };
    assert_eq!(ask(&mut it, nothing).await, rows(&[]));

    let answer = it.telemetry.stat(all).await.unwrap().into_inner();
    let total = answer.rows[1].total.clone().unwrap();
    assert_eq!((total.refused, total.failed, total.attempts), (4, 8, 126));
    let causes = total.failures.iter().map(|it| (it.name.as_str(), it.count));
    assert_eq!(causes.collect::<Vec<_>>(), [("refused", 4), ("timed_out", 4)]);
    let refusals = total.refusals.iter().map(|it| (it.name.as_str(), it.count));
    assert_eq!(refusals.collect::<Vec<_>>(), [("breaker_open", 2), ("other", 1)]);
    it.control.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_starts_anew_asks_for_all() {
    let mut it = reported().await;
    let data = it.control.stop().await;
    it.control = Running::start_in(data).await;
    let address = format!("http://{}", it.control.bound.grpc);
    it.reports = TelemetryReportsClient::connect(address.clone()).await.unwrap();
    it.telemetry = TelemetryClient::connect(address).await.unwrap();
    let news = vec![(edge("jobs", "web", "v1", "web-1"), traffic(4, 3))];
    let answer = it.reports.report(report("n1", 2, news)).await.unwrap().into_inner();
    assert!(answer.send_all);
    let all = vec![
        (edge("jobs", "web", "v1", "web-1"), traffic(4, 3)),
        (edge("front", "web", "v1", "web-1"), traffic(10, 10)),
    ];
    let all = wire::ReportTrafficRequest { full: true, ..report("n1", 3, all) };
    assert!(!it.reports.report(all).await.unwrap().into_inner().send_all);
    let totals = ask(&mut it, wire::StatRequest::default()).await;
    assert_eq!(totals, rows(&[("shop web", 14, 1)]));
    it.control.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let mut it = start().await;
    for (request, says) in [
        (wire::StatRequest { window_ms: 999, ..Default::default() }, "1000 to 3600000"),
        (wire::StatRequest { every_ms: 1, ..Default::default() }, "250 to 60000"),
        (wire::StatRequest { by: 77, ..Default::default() }, "group by service"),
        (wire::StatRequest { reporter: 9, ..Default::default() }, "source or destination"),
    ] {
        let error = it.telemetry.stat(request.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(says), "{error}");
        assert!(it.telemetry.watch(request).await.is_err());
    }
    let twice = vec![(edge("a", "web", "", ""), traffic(1, 1)); 2];
    for (wrong, says) in [
        (report("n1", 1, twice), "twice"),
        (report("", 1, Vec::new()), "node"),
        (report("n1", 0, Vec::new()), "from 1"),
        (wire::ReportTrafficRequest { run: String::new(), ..report("n1", 1, Vec::new()) }, "run"),
    ] {
        let error = it.reports.report(wrong).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(ask(&mut it, wire::StatRequest::default()).await, rows(&[]));
    it.control.stop().await;
}

#[tokio::test]
async fn what_grows_is_in_the_window_and_in_the_series() {
    let mut it = reported().await;
    let news = vec![(edge("web", "db", "", "db-1"), traffic(27, 27))];
    it.reports.report(report("n2", 2, news)).await.unwrap();
    let db = wire::StatRequest { service: "db".to_owned(), ..wire::StatRequest::default() };
    let mut answers = it.telemetry.watch(db.clone()).await.unwrap().into_inner();
    let seen = async {
        loop {
            let answer = answers.message().await.unwrap().unwrap();
            let row = answer.rows[0].clone();
            let window = row.window.unwrap_or_default();
            if window.opened > 0 {
                return (window, row.window_ms);
            }
        }
    };
    let (window, length) = tokio::time::timeout(PATIENCE, seen).await.unwrap();
    assert_eq!((window.opened, window.attempts, window.failed), (20, 20, 0));
    assert!((1_000..=10_000).contains(&length), "{length}");

    let request = wire::SeriesRequest { of: Some(db), range_ms: 60_000, points: 60 };
    let series = it.telemetry.series(request.clone()).await.unwrap().into_inner();
    assert_eq!((series.step_ms, series.rows.len()), (1_000, 1));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago = u64::try_from(now.as_millis()).unwrap().abs_diff(series.end_ms);
    assert!(ago < 20_000, "{ago}");
    let points = &series.rows[0].points;
    assert!(points.windows(2).all(|two| two[0].ago == two[1].ago + 1), "{points:?}");
    let opened = points.iter().map(|it| it.traffic.as_ref().unwrap().opened);
    assert_eq!(opened.sum::<u64>(), 20);
    let day = wire::SeriesRequest { range_ms: 86_400_001, ..request };
    let error = it.telemetry.series(day).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    it.control.stop().await;
}

#[tokio::test]
async fn a_watch_answers_again_and_again_until_the_shutdown() {
    let mut it = reported().await;
    let often = wire::StatRequest { every_ms: 250, ..wire::StatRequest::default() };
    let mut answers = it.telemetry.watch(often).await.unwrap().into_inner();
    let opened = |answer: &wire::StatResponse| answer.rows[0].total.as_ref().unwrap().opened;
    assert_eq!(opened(&answers.message().await.unwrap().unwrap()), 7);
    let news = vec![(edge("web", "db", "", "db-1"), traffic(8, 8))];
    it.reports.report(report("n2", 2, news)).await.unwrap();
    let changed = async { while opened(&answers.message().await.unwrap().unwrap()) != 8 {} };
    tokio::time::timeout(PATIENCE, changed).await.unwrap();
    it.control.stop().await;
    let ended = async { while let Ok(Some(_)) = answers.message().await {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_report_that_would_take_too_much_memory_is_refused_before_it_does() {
    let mut it = start().await;
    let empty = vec![wire::EdgeTraffic::default(); report::MAX_EDGES + 1];
    let many = wire::ReportTrafficRequest { edges: empty, ..report("n1", 1, Vec::new()) };
    let error = it.reports.report(many).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("report 100000 edges at most"), "{error}");
    let causes = vec![wire::Cause::default(); 8 * report::MAX_EDGES + 1];
    let failures = wire::Traffic { failures: causes, ..wire::Traffic::default() };
    let causes = report("n1", 1, vec![(edge("a", "web", "", ""), failures)]);
    let error = it.reports.report(causes).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    // Some kilobytes that become more than it may be.
    let large =
        wire::ReportTrafficRequest { run: "r".repeat(17 << 20), ..report("n1", 1, Vec::new()) };
    let mut zipping = it.reports.clone().send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let error = zipping.report(large).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("16777216"), "{error}");
    zipping.report(report("n1", 1, vec![(edge("a", "web", "", ""), traffic(3, 3))])).await.unwrap();
    assert_eq!(ask(&mut it, wire::StatRequest::default()).await.len(), 1);
    it.control.stop().await;
}
