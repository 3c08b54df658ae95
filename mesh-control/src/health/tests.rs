//! The control plane's own checks, of real listeners.

use std::time::{Duration, Instant};

use mesh_api::wire;
use mesh_api::wire::HealthStatus::{Healthy, Unhealthy, Unspecified};
use mesh_api::wire::health_client::HealthClient;
use mesh_api::wire::health_reports_client::HealthReportsClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::testing::{PATIENCE, Running, at, on_node, wire_check, wire_endpoint, wire_service};

const WARMUP: Duration = Duration::from_secs(1);

fn check(port: u16) -> wire::Object {
    let mut check = wire_check("shop/web", true);
    if let Some(wire::object::Spec::ServiceConfig(spec)) = &mut check.spec {
        spec.health_check.as_mut().unwrap().port = Some(port.into());
    }
    check
}

/// Asks until the endpoint looks as wanted.
async fn until(
    health: &mut HealthClient<Channel>,
    name: &str,
    wanted: impl Fn(&wire::EndpointHealthView) -> bool,
) -> wire::EndpointHealthView {
    let mut last = None;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let listed = health.list(wire::ListHealthRequest::default()).await.unwrap().into_inner();
        last = listed.endpoints.into_iter().find(|view| view.name == name);
        if let Some(view) = last.as_ref().filter(|view| wanted(view)) {
            return view.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name}: {last:?}");
}

#[tokio::test]
async fn endpoints_without_agent_are_checked_by_the_control_plane() {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = Instant::now();
    let mut control = Running::start_with(TempDir::new().unwrap(), WARMUP).await;
    let objects = vec![
        wire_service("shop/web", "10.96.0.1", 80),
        check(port),
        wire_endpoint("shop/free", "web", "v1"),
        on_node(wire_endpoint("shop/named", "web", "v1"), "n1"),
    ];
    control.apply(objects).await.unwrap();
    let address = format!("http://{}", control.bound.grpc);
    let mut health = HealthClient::connect(address.clone()).await.unwrap();
    let by = |source: &'static str, status| {
        move |view: &wire::EndpointHealthView| view.source == source && view.status() == status
    };
    // At once; one that names a node is left to its agent for a while.
    until(&mut health, "free", by("control-plane", Healthy)).await;
    until(&mut health, "named", by("control-plane", Healthy)).await;
    assert!(started.elapsed() >= WARMUP);
    // Nobody listens any more.
    drop(listener);
    let view = until(&mut health, "free", by("control-plane", Unhealthy)).await;
    assert!(view.reason.contains("refused"), "{view:?}");
    until(&mut health, "named", by("control-plane", Unhealthy)).await;

    // The agent is here: its word counts, and the control plane does not check any more.
    let mut reports = HealthReportsClient::connect(address).await.unwrap();
    let report = wire::ReportHealthRequest {
        node: "n1".to_owned(),
        full: true,
        endpoints: vec![wire::EndpointReport {
            namespace: "shop".to_owned(),
            name: "named".to_owned(),
            status: Healthy.into(),
            ..wire::EndpointReport::default()
        }],
        ttl_ms: 1_000,
        ..wire::ReportHealthRequest::default()
    };
    reports.report(report).await.unwrap();
    let alone =
        |view: &wire::EndpointHealthView| view.source == "agent n1" && view.conflicts.is_empty();
    until(&mut health, "named", alone).await;
    // And gone again: its last word stays until the control plane knows.
    until(&mut health, "named", by("control-plane", Unhealthy)).await;

    // The check is taken away and comes back; nothing is lost.
    control.apply(vec![wire_check("shop/web", false)]).await.unwrap();
    control.apply(vec![check(port)]).await.unwrap();
    until(&mut health, "free", by("control-plane", Unhealthy)).await;

    // What would lead into the mesh is not checked, and why is said.
    let frontend = wire_service("shop/front", "10.96.0.9", port.into());
    let inside = at(wire_endpoint("shop/inside", "web", "v1"), "10.96.0.9");
    control.apply(vec![frontend, inside]).await.unwrap();
    let unknown = |view: &wire::EndpointHealthView| view.reason.contains("endpoint.node");
    let view = until(&mut health, "inside", unknown).await;
    assert_eq!(view.status(), Unspecified);
    assert!(view.reason.contains("shop/front"), "{view:?}");
    control.stop().await;
}
