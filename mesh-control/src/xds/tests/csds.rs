//! What is told of a client, over a real socket.

use mesh_xds::ads::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, INVALID_ARGUMENT, Node,
    Status as Refused,
};
use mesh_xds::csds::{
    ClientStatusDiscoveryServiceClient, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use mesh_xds::types::CLUSTER;
use tokio::sync::mpsc;

use super::shop;
use crate::testing::{PATIENCE, Running};

/// Name, state, and reason of each resource of the only client.
fn shown(answer: &ClientStatusResponse) -> Vec<(String, ConfigStatus, String)> {
    let config = answer.config.iter().flat_map(|client| &client.generic_xds_configs);
    let line = config.map(|it| {
        let reason = it.error_state.as_ref().map(|error| error.details.clone());
        (it.name.clone(), it.config_status(), reason.unwrap_or_default())
    });
    line.collect()
}

#[tokio::test]
async fn tools_are_told_what_a_client_has_and_refuses() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let address = format!("http://{}", control.bound.grpc);
    let mut client = AggregatedDiscoveryServiceClient::connect(address.clone()).await.unwrap();
    let mut tool = ClientStatusDiscoveryServiceClient::connect(address).await.unwrap();
    let (requests, to_send) = mpsc::unbounded_channel();
    let node =
        Node { id: "app".to_owned(), user_agent_name: "gRPC Go".to_owned(), ..Node::default() };
    let type_url = CLUSTER.to_owned();
    let first = DeltaDiscoveryRequest { node: Some(node), type_url, ..Default::default() };
    requests.send(first).unwrap();
    let next = |mut to_send: mpsc::UnboundedReceiver<_>| async move {
        to_send.recv().await.map(|it| (it, to_send))
    };
    let stream = futures::stream::unfold(to_send, next);
    let mut pushes = client.delta_aggregated_resources(stream).await.unwrap().into_inner();
    let mut push = pushes.message().await.unwrap().unwrap();
    // The snapshot may not have been made yet.
    while push.resources.is_empty() {
        let ack = DeltaDiscoveryRequest {
            type_url: push.type_url.clone(),
            response_nonce: push.nonce.clone(),
            ..Default::default()
        };
        requests.send(ack).unwrap();
        push = pushes.message().await.unwrap().unwrap();
    }
    let names: Vec<_> = push.resources.iter().map(|it| it.name.clone()).collect();
    let answer = tool.fetch_client_status(ClientStatusRequest::default()).await.unwrap();
    let stale = names.iter().map(|name| (name.clone(), ConfigStatus::Stale, String::new()));
    assert_eq!(shown(answer.get_ref()), stale.collect::<Vec<_>>());
    assert_eq!(answer.get_ref().config[0].node.as_ref().unwrap().id, "app");

    let message = format!("Error adding/updating cluster(s) {}: no", names[0]);
    let refused = Refused { code: INVALID_ARGUMENT, message: message.clone(), details: vec![] };
    let nack = DeltaDiscoveryRequest {
        type_url: push.type_url,
        response_nonce: push.nonce,
        error_detail: Some(refused),
        ..Default::default()
    };
    requests.send(nack).unwrap();
    let told = async {
        loop {
            let asked = futures::stream::iter([ClientStatusRequest::default()]);
            let mut answers = tool.stream_client_status(asked).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap();
            let shown = shown(&answer);
            if shown.iter().any(|(_, state, _)| *state == ConfigStatus::Error) {
                return shown;
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert_eq!(told[0], (names[0].clone(), ConfigStatus::Error, message));
    assert!(told.iter().skip(1).all(|(_, state, _)| *state == ConfigStatus::Synced), "{told:?}");
    control.stop().await;
}
