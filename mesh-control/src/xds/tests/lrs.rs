//! Load reports, over a real socket.

use mesh_xds::ads::Node;
use mesh_xds::lrs::{LoadReportingServiceClient, LoadStatsRequest};
use tokio::sync::mpsc;

use super::shop;
use crate::testing::{PATIENCE, Running, wire_service};

fn hello(client_features: &[&str]) -> LoadStatsRequest {
    let node = Node {
        id: "app".to_owned(),
        user_agent_name: "gRPC Go".to_owned(),
        client_features: client_features.iter().map(|it| (*it).to_owned()).collect(),
        ..Node::default()
    };
    LoadStatsRequest { node: Some(node), ..LoadStatsRequest::default() }
}

#[tokio::test]
async fn clients_are_asked_for_all_or_by_name_and_again_for_what_is_new() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let address = format!("http://{}", control.bound.grpc);
    let mut client = LoadReportingServiceClient::connect(address).await.unwrap();
    let all = futures::stream::iter([hello(&["envoy.lrs.supports_send_all_clusters"])]);
    let mut answers = client.stream_load_stats(all).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(answer.send_all_clusters && answer.clusters.is_empty());
    assert_eq!(answer.load_reporting_interval.unwrap().seconds, 10);

    let (requests, to_send) = mpsc::unbounded_channel();
    let next = |mut to_send: mpsc::UnboundedReceiver<_>| async move {
        to_send.recv().await.map(|it| (it, to_send))
    };
    requests.send(hello(&[])).unwrap();
    let stream = futures::stream::unfold(to_send, next);
    let mut answers = client.stream_load_stats(stream).await.unwrap().into_inner();
    let mut add = Some(vec![wire_service("shop/db", "10.96.0.2", 80)]);
    let asked = async {
        loop {
            let answer = answers.message().await.unwrap().unwrap();
            assert!(!answer.send_all_clusters);
            let has = |service| answer.clusters.iter().any(|name| name.starts_with(service));
            match (has("web.shop:"), has("db.shop:"), add.take()) {
                (true, true, _) => return,
                (true, false, Some(objects)) => drop(control.apply(objects).await.unwrap()),
                (_, _, before) => add = before,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    control.stop().await;
}
