//! xDS over a real socket: the client machine of `mesh_xds` against a whole control plane.

mod agent;
mod csds;
mod health;
mod lrs;
mod table;
mod workloads;

use agent::Agent;
use mesh_api::resource::{ENDPOINT, REVISION, SERVICE, SERVICE_CONFIG};
use mesh_api::wire;
use mesh_xds::ads::{AggregatedDiscoveryServiceClient, DiscoveryRequest};

use crate::testing::{PATIENCE, Running, wire_config, wire_endpoint, wire_service};

fn shop() -> Vec<wire::Object> {
    vec![
        wire_config("shop/web", &[("", "v1", 90), ("", "v2", 10)]),
        wire_service("shop/web", "10.96.0.1", 80),
        wire_endpoint("shop/web-1", "web", "v1"),
        wire_endpoint("shop/web-2", "web", "v2"),
    ]
}

async fn wait_live(control: &mut Running, revision: u64) -> wire::WaitLiveResponse {
    let request = wire::WaitLiveRequest {
        revision,
        timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
    };
    control.api.wait_live(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_push_is_complete_in_order_and_ends_with_its_revision() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut agent = Agent::connect(control.bound.grpc, "node-1").await;
    let push = agent.revision().await;
    assert_eq!(push.revision, 1);
    assert_eq!(push.types, [ENDPOINT, SERVICE_CONFIG, SERVICE, REVISION]);
    assert_eq!(push.added, ["shop/web-1", "shop/web-2", "shop/web", "shop/web", "revision"]);
    agent.ack(&push);
    assert!(wait_live(&mut control, 1).await.live);

    // One endpoint's change is one resource and the revision.
    control.apply(vec![wire_endpoint("shop/web-2", "web", "v3")]).await.unwrap();
    let push = agent.revision().await;
    assert_eq!((push.revision, push.types.len()), (2, 2));
    assert_eq!(push.added, ["shop/web-2", "revision"]);
    agent.ack(&push);
    assert!(wait_live(&mut control, 2).await.live);
    control.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_the_last_answer() {
    let mut control = Running::start().await;
    let request = wire::WaitLiveRequest { revision: 0, timeout_ms: 50 };
    let nobody = control.api.wait_live(request).await.unwrap().into_inner();
    assert!(!nobody.live && nobody.nodes.is_empty());

    let mut one = Agent::connect(control.bound.grpc, "node-1").await;
    let mut two = Agent::connect(control.bound.grpc, "node-2").await;
    // For want of a node, a wait goes on until one serves it.
    let mut waiting = control.api.clone();
    let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    let request = wire::WaitLiveRequest { revision: 0, timeout_ms };
    let waiting = tokio::spawn(async move { waiting.wait_live(request).await });
    for agent in [&mut one, &mut two] {
        let push = agent.revision().await;
        agent.ack(&push);
    }
    assert!(waiting.await.unwrap().unwrap().into_inner().live);
    assert!(wait_live(&mut control, 0).await.live);
    control.apply(shop()).await.unwrap();
    let push = one.revision().await;
    one.ack(&push);
    let request = wire::WaitLiveRequest { revision: 1, timeout_ms: 100 };
    let half = control.api.wait_live(request).await.unwrap().into_inner();
    assert!(!half.live);

    let push = two.revision().await;
    two.reject(&push, "shop/web-2", "map full");
    let rejected = wait_live(&mut control, 1).await;
    assert!(!rejected.live);
    let node = &rejected.nodes[1];
    assert_eq!((node.node.as_str(), node.live_revision), ("node-2", 0));
    assert!(node.connected);
    assert!(node.rejections[0].message.contains("map full"), "{node:?}");

    // A later revision mends it.
    control.apply(vec![wire_endpoint("shop/web-2", "web", "v3")]).await.unwrap();
    for agent in [&mut one, &mut two] {
        let push = agent.revision().await;
        agent.ack(&push);
    }
    let mended = wait_live(&mut control, 2).await;
    assert!(mended.live);
    assert!(mended.nodes.iter().all(|node| node.rejections.is_empty()), "{mended:?}");

    let error = control.api.wait_live(wire::WaitLiveRequest { revision: 9, timeout_ms: 1 });
    assert_eq!(error.await.unwrap_err().code(), tonic::Code::OutOfRange);
    control.stop().await;
}

#[tokio::test]
async fn a_node_that_comes_back_is_sent_only_what_changed() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut agent = Agent::connect(control.bound.grpc, "node-1").await;
    let push = agent.revision().await;
    agent.ack(&push);
    assert!(wait_live(&mut control, 1).await.live);
    agent.disconnect();
    let away = async {
        loop {
            let status = control.api.status(wire::StatusRequest {}).await.unwrap();
            let status = status.into_inner();
            if !status.nodes[0].connected {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    let status = tokio::time::timeout(PATIENCE, away).await.unwrap();
    assert_eq!(status.nodes[0].live_revision, 1);

    // Also across a restart of the control plane: versions are content hashes.
    let mut control = Running::start_in(control.stop().await).await;
    let applied = control.apply(vec![wire_endpoint("shop/web-2", "web", "v3")]).await;
    assert_eq!(applied.unwrap().revision, 2);
    agent.reconnect(control.bound.grpc).await;
    let push = agent.revision().await;
    assert_eq!(push.revision, 2);
    assert_eq!(push.added, ["shop/web-2", "revision"]);
    agent.ack(&push);
    assert!(wait_live(&mut control, 2).await.live);
    control.stop().await;
}

#[tokio::test]
async fn protocol_errors_end_the_stream_with_a_reason() {
    let control = Running::start().await;
    let status = Agent::without_node(control.bound.grpc).await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("node"), "{}", status.message());

    let address = format!("http://{}", control.bound.grpc);
    let mut client = AggregatedDiscoveryServiceClient::connect(address).await.unwrap();
    // What agents get is served over delta only.
    let type_url = mesh_api::resource::AGENT_TYPES[0].to_owned();
    let request = DiscoveryRequest { type_url, ..DiscoveryRequest::default() };
    let requests = futures::stream::iter([request]);
    let answer = client.stream_aggregated_resources(requests).await.unwrap();
    let status = answer.into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().contains("delta"), "{}", status.message());
    control.stop().await;
}

#[tokio::test]
async fn many_revisions_merge_for_a_node_that_is_slow() {
    let mut control = Running::start().await;
    let mut agent = Agent::connect(control.bound.grpc, "node-1").await;
    let push = agent.revision().await;
    for at in 0..50 {
        control.apply(vec![wire_endpoint(&format!("shop/e-{at}"), "web", "v1")]).await.unwrap();
    }
    agent.ack(&push);
    let push = agent.revision().await;
    assert_eq!(push.revision, 50);
    assert_eq!(push.added.len(), 51);
    agent.ack(&push);
    assert!(wait_live(&mut control, 50).await.live);
    control.stop().await;
}
