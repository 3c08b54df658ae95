//! Health over real sockets: agents report it, agents get it, on its own.

use std::time::Duration;

use mesh_api::wire;
use mesh_api::wire::HealthStatus::{Healthy, Unhealthy};
use mesh_api::wire::health_reports_client::HealthReportsClient;
use tonic::transport::Channel;

use super::agent::Agent;
use super::wait_live;
use crate::testing::{PATIENCE, Running, on_node, wire_check, wire_endpoint, wire_service};

/// Whoever checks on a node.
struct Reporter {
    client: HealthReportsClient<Channel>,
    node: &'static str,
}

impl Reporter {
    async fn connect(control: &Running, node: &'static str) -> Self {
        let address = format!("http://{}", control.bound.grpc);
        Self { client: HealthReportsClient::connect(address).await.unwrap(), node }
    }

    async fn report(
        &mut self,
        full: bool,
        endpoints: &[(&str, wire::HealthStatus)],
    ) -> wire::ReportHealthResponse {
        let endpoints = endpoints.iter().map(|(name, status)| wire::EndpointReport {
            namespace: "shop".to_owned(),
            name: (*name).to_owned(),
            status: (*status).into(),
            reason: "as told".to_owned(),
            ..wire::EndpointReport::default()
        });
        let request = wire::ReportHealthRequest {
            node: self.node.to_owned(),
            full,
            endpoints: endpoints.collect(),
            ttl_ms: 60_000,
            ..wire::ReportHealthRequest::default()
        };
        self.client.report(request).await.unwrap().into_inner()
    }
}

/// Three endpoints on a node; those of `web` are checked.
fn shop() -> Vec<wire::Object> {
    let endpoint = |name, service| on_node(wire_endpoint(name, service, "v1"), "node-1");
    vec![
        wire_check("shop/web", true),
        wire_service("shop/web", "10.96.0.1", 80),
        wire_service("shop/other", "10.96.0.2", 80),
        endpoint("shop/web-1", "web"),
        endpoint("shop/web-2", "web"),
        endpoint("shop/other-1", "other"),
    ]
}

async fn metric(control: &Running, name: &str) -> u64 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(control.bound.http).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

const PUSHED: &str = "mesh_xds_pushes_total{type=\"mesh.v1.EndpointHealth\"}";
const REVISIONS: &str = "mesh_xds_pushes_total{type=\"mesh.v1.Revision\"}";
const ACKS: &str = "mesh_xds_acks_total{type=\"mesh.v1.Revision\"}";
const ENDPOINTS: &str = "mesh_xds_pushes_total{type=\"mesh.v1.Endpoint\"}";

#[tokio::test]
async fn one_flap_is_one_response_with_one_resource_and_no_revision() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut reporter = Reporter::connect(&control, "node-1").await;
    // Who is not known must begin with everything.
    assert!(reporter.report(false, &[("web-1", Unhealthy)]).await.send_all);
    assert!(!reporter.report(true, &[("web-1", Healthy), ("web-2", Healthy)]).await.send_all);
    // What is not checked, or does not exist, is not published, whoever reports it.
    reporter.report(false, &[("other-1", Unhealthy), ("nobody", Unhealthy)]).await;

    let mut agent = Agent::with_health(control.bound.grpc, "node-2").await;
    let mut old = Agent::connect(control.bound.grpc, "node-3").await;
    let push = agent.revision().await;
    let old_push = old.revision().await;
    let all = [("shop/web-1".to_owned(), Some(Healthy)), ("shop/web-2".to_owned(), Some(Healthy))];
    assert_eq!(agent.health().await, all);
    // It has been answered, which says nothing about the configuration.
    let waited = wire::WaitLiveRequest { revision: 1, timeout_ms: 100 };
    assert!(!control.api.wait_live(waited).await.unwrap().into_inner().live);
    agent.ack(&push);
    old.ack(&old_push);
    assert!(wait_live(&mut control, 1).await.live);

    for (times, status) in [(1, Unhealthy), (2, Healthy), (3, Unhealthy)] {
        reporter.report(false, &[("web-1", status)]).await;
        assert_eq!(agent.health().await, [("shop/web-1".to_owned(), Some(status))]);
        assert_eq!(metric(&control, PUSHED).await, 1 + times);
    }
    // The same again is no news; nor is what an agent on another node says.
    reporter.report(false, &[("web-1", Unhealthy)]).await;
    let mut stranger = Reporter::connect(&control, "node-9").await;
    stranger.report(true, &[("web-2", Unhealthy)]).await;
    let quiet = Duration::from_millis(200);
    assert!(agent.is_left_alone(quiet).await && old.is_left_alone(quiet).await);
    assert_eq!(metric(&control, PUSHED).await, 4);
    assert_eq!((metric(&control, REVISIONS).await, metric(&control, ENDPOINTS).await), (2, 2));
    assert_eq!(metric(&control, ACKS).await, 2);
    let status = control.api.status(wire::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.revision, 1);
    assert!(status.nodes.iter().all(|node| node.live_revision == 1), "{status:?}");

    // Without the check there is no health, and with it again it must be reported again.
    control.apply(vec![wire_check("shop/web", false)]).await.unwrap();
    let gone = [("shop/web-1".to_owned(), None), ("shop/web-2".to_owned(), None)];
    assert_eq!(agent.health().await, gone);
    control.apply(vec![wire_check("shop/web", true)]).await.unwrap();
    let both = [("web-1", Healthy), ("web-2", Healthy)];
    assert!(reporter.report(false, &both).await.send_all);
    assert_eq!(agent.health().await, all);
    control.stop().await;
}

#[tokio::test]
async fn health_does_not_wait_for_the_configuration() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut reporter = Reporter::connect(&control, "node-1").await;
    // Of both: what no agent has decided the control plane checks itself.
    reporter.report(true, &[("web-1", Healthy), ("web-2", Healthy)]).await;
    let mut agent = Agent::with_health(control.bound.grpc, "node-2").await;
    let unanswered = agent.revision().await;
    agent.health().await;
    reporter.report(false, &[("web-1", Unhealthy)]).await;
    assert_eq!(agent.health().await, [("shop/web-1".to_owned(), Some(Unhealthy))]);
    agent.ack(&unanswered);
    assert!(wait_live(&mut control, 1).await.live);
    control.stop().await;
}

/// Enough for agents to come back, also on a busy machine.
const WARMUP: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_restart_makes_nobody_forget() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut reporter = Reporter::connect(&control, "node-1").await;
    reporter.report(true, &[("web-1", Unhealthy), ("web-2", Unhealthy)]).await;
    let mut agent = Agent::with_health(control.bound.grpc, "node-2").await;
    agent.revision().await;
    assert_eq!(agent.health().await.len(), 2);
    agent.disconnect();
    drop(reporter);

    let data = control.stop().await;
    let started = std::time::Instant::now();
    let control = Running::start_with(data, WARMUP).await;
    agent.reconnect(control.bound.grpc).await;
    agent.revision().await;
    // One agent is back in time and says something else; nobody has heard of the other endpoint.
    let mut reporter = Reporter::connect(&control, "node-1").await;
    assert!(reporter.report(false, &[]).await.send_all);
    reporter.report(true, &[("web-1", Healthy)]).await;
    let news = tokio::time::timeout(PATIENCE, agent.health()).await.unwrap();
    assert_eq!(news, [("shop/web-1".to_owned(), Some(Healthy))]);
    assert!(started.elapsed() >= WARMUP, "{:?}", started.elapsed());
    assert!(agent.is_left_alone(Duration::from_millis(100)).await);
    control.stop().await;
}
