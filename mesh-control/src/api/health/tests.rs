//! Reports, lists and watches over real sockets.

use std::time::Duration;

use mesh_api::wire;
use mesh_api::wire::HealthStatus::{Healthy, Unhealthy, Unspecified};
use mesh_api::wire::health_client::HealthClient;
use mesh_api::wire::health_event::Event;
use mesh_api::wire::health_reports_client::HealthReportsClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::testing::{PATIENCE, Running, on_node, wire_check, wire_endpoint, wire_service};

/// Nobody but the agents of the test checks anything before.
const LONG: Duration = Duration::from_mins(10);

struct Clients {
    control: Running,
    reports: HealthReportsClient<Channel>,
    health: HealthClient<Channel>,
}

/// Two endpoints of `web` on two nodes, which are checked.
async fn start() -> Clients {
    let mut control = Running::start_with(TempDir::new().unwrap(), LONG).await;
    let objects = vec![
        wire_service("shop/web", "10.96.0.1", 80),
        wire_check("shop/web", true),
        on_node(wire_endpoint("shop/web-1", "web", "v1"), "n1"),
        on_node(wire_endpoint("shop/web-2", "web", "v1"), "n2"),
    ];
    control.apply(objects).await.unwrap();
    let address = format!("http://{}", control.bound.grpc);
    let reports = HealthReportsClient::connect(address.clone()).await.unwrap();
    let health = HealthClient::connect(address).await.unwrap();
    Clients { control, reports, health }
}

fn report(node: &str, says: &[(&str, wire::HealthStatus)]) -> wire::ReportHealthRequest {
    let endpoints = says.iter().map(|(name, status)| wire::EndpointReport {
        namespace: "shop".to_owned(),
        name: (*name).to_owned(),
        status: (*status).into(),
        reason: format!("{node} says so"),
        since_ms: 5_000,
        latency_us: 250,
    });
    wire::ReportHealthRequest {
        node: node.to_owned(),
        full: true,
        endpoints: endpoints.collect(),
        ttl_ms: 60_000,
        ..wire::ReportHealthRequest::default()
    }
}

fn guard(service: &str) -> wire::GuardReport {
    wire::GuardReport {
        namespace: "shop".to_owned(),
        service: service.to_owned(),
        port: 80,
        state: wire::GuardState::Open.into(),
        ..wire::GuardReport::default()
    }
}

async fn next(events: &mut Streaming<wire::HealthEvent>) -> Event {
    let event = tokio::time::timeout(PATIENCE, events.message()).await.unwrap();
    event.unwrap().unwrap().event.unwrap()
}

fn put(event: Event) -> wire::EndpointHealthView {
    let Event::Put(view) = event else { panic!("{event:?}") };
    view
}

#[tokio::test]
async fn a_list_says_who_decided_and_who_disagrees() {
    let mut it = start().await;
    it.reports.report(report("n1", &[("web-1", Unhealthy)])).await.unwrap();
    it.reports.report(report("n3", &[("web-1", Healthy)])).await.unwrap();
    let all = it.health.list(wire::ListHealthRequest::default()).await.unwrap().into_inner();
    let [one, two] = all.endpoints.as_slice() else { panic!("{all:?}") };
    assert_eq!((one.status(), one.source.as_str()), (Unhealthy, "agent n1"));
    assert_eq!((one.service.as_str(), one.node.as_str()), ("web", "n1"));
    assert_eq!((one.reason.as_str(), one.latency_us), ("n1 says so", 250));
    assert!((5_000..60_000).contains(&one.since_ms), "{one:?}");
    assert_eq!(one.conflicts.len(), 1);
    assert_eq!(
        (one.conflicts[0].source.as_str(), one.conflicts[0].status()),
        ("agent n3", Healthy)
    );
    assert_eq!((two.name.as_str(), two.status()), ("web-2", Unspecified));
    assert!(!two.reason.is_empty());

    for (namespace, service, unhealthy_only, count) in [
        ("shop", "", false, 2),
        ("shop", "web", true, 1),
        ("shop", "x", false, 0),
        ("y", "", false, 0),
    ] {
        let request = wire::ListHealthRequest {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            unhealthy_only,
        };
        let listed = it.health.list(request).await.unwrap().into_inner();
        assert_eq!(listed.endpoints.len(), count, "{namespace} {service} {unhealthy_only}");
    }
    it.control.stop().await;
}

#[tokio::test]
async fn a_watch_begins_with_the_list_and_follows_every_change() {
    let mut it = start().await;
    it.reports.report(report("n1", &[("web-1", Unhealthy)])).await.unwrap();
    let mut all = it.health.watch(wire::ListHealthRequest::default()).await.unwrap().into_inner();
    let bad = wire::ListHealthRequest { unhealthy_only: true, ..Default::default() };
    let mut bad = it.health.watch(bad).await.unwrap().into_inner();
    assert_eq!(put(next(&mut all).await).status(), Unhealthy);
    assert_eq!(put(next(&mut all).await).status(), Unspecified);
    assert_eq!(next(&mut all).await, Event::Synced(true));
    assert_eq!(put(next(&mut bad).await).name, "web-1");
    assert_eq!(next(&mut bad).await, Event::Synced(true));

    it.reports.report(report("n1", &[("web-1", Healthy)])).await.unwrap();
    assert_eq!(put(next(&mut all).await).status(), Healthy);
    assert!(matches!(next(&mut bad).await, Event::Removed(it) if it.name == "web-1"));

    let guarded = wire::ReportHealthRequest {
        guards: vec![guard("web")],
        ..report("n1", &[("web-1", Healthy)])
    };
    it.reports.report(guarded).await.unwrap();
    for events in [&mut all, &mut bad] {
        let Event::Guards(guards) = next(events).await else { panic!("no guards") };
        assert_eq!((guards.node.as_str(), guards.guards.len()), ("n1", 1));
    }
    let listed = it.health.list(wire::ListHealthRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.guards.len(), 1);

    // An agent that is gone takes its guards along; what it said last stays.
    let brief = wire::ReportHealthRequest { ttl_ms: 1, ..report("n1", &[("web-1", Unhealthy)]) };
    let brief = wire::ReportHealthRequest { guards: vec![guard("web")], ..brief };
    it.reports.report(brief).await.unwrap();
    let mut gone = None;
    let mut freed = false;
    while gone.is_none() || !freed {
        match next(&mut all).await {
            Event::Put(view) if view.reason.contains("gone") => gone = Some(view),
            Event::Guards(guards) => freed = guards.guards.is_empty(),
            Event::Put(_) | Event::Removed(_) | Event::Synced(_) => {}
        }
    }
    let gone = gone.unwrap();
    assert_eq!(
        (gone.status(), gone.reason.as_str()),
        (Unhealthy, "agent n1 gone; last: n1 says so")
    );
    let deleted = wire::DeleteRequest {
        objects: vec![wire::ObjectRef {
            kind: wire::Kind::Endpoint.into(),
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
        }],
        dry_run: false,
    };
    it.control.api.delete(deleted).await.unwrap();
    let removed = async {
        while !matches!(next(&mut all).await, Event::Removed(it) if it.name == "web-1") {}
    };
    tokio::time::timeout(PATIENCE, removed).await.unwrap();
    it.control.stop().await;
}

#[tokio::test]
async fn what_is_too_much_or_wrong_is_refused_with_a_reason() {
    let mut it = start().await;
    let names: Vec<String> = (0..100_001).map(|at| format!("e-{at}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), Healthy)).collect();
    let table = [
        (report("n1", &many), Code::FailedPrecondition, "100000"),
        (report("not a node", &[]), Code::InvalidArgument, "node"),
        (report("n1", &[("No Name", Healthy)]), Code::InvalidArgument, "No Name"),
    ];
    for (request, code, word) in table {
        let status = it.reports.report(request).await.unwrap_err();
        assert_eq!(status.code(), code);
        assert!(status.message().contains(word), "{}", status.message());
    }
    // The most that is allowed is taken.
    let most = report("n1", &many[1..]);
    let taken = tokio::time::timeout(PATIENCE, it.reports.report(most)).await.unwrap();
    assert!(!taken.unwrap().into_inner().send_all);
    it.control.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_watches() {
    let mut it = start().await;
    let mut all = it.health.watch(wire::ListHealthRequest::default()).await.unwrap().into_inner();
    let ended = async move { while let Ok(Some(_)) = all.message().await {} };
    let stopped = async { it.control.stop().await };
    let both = async { tokio::join!(ended, stopped) };
    // Without waiting for the time after which requests are cut off.
    tokio::time::timeout(Duration::from_secs(4), both).await.unwrap();
}
