//! The API over a real socket, against a whole control plane.

mod behind;
mod lease;
mod refuse;
mod watch;

use super::*;
use crate::testing::{Running, wire_config, wire_endpoint, wire_service};

/// A service with two versions and a split, as one batch.
pub(super) fn shop() -> Vec<wire::Object> {
    vec![
        wire_config("shop/web", &[("", "v1", 90), ("", "v2", 10)]),
        wire_service("shop/web", "10.96.0.1", 80),
        wire_endpoint("shop/web-1", "web", "v1"),
        wire_endpoint("shop/web-2", "web", "v2"),
    ]
}

pub(super) fn object_ref(kind: wire::Kind, namespace: &str, name: &str) -> wire::ObjectRef {
    wire::ObjectRef { kind: kind.into(), namespace: namespace.to_owned(), name: name.to_owned() }
}

pub(super) fn web(kind: wire::Kind) -> wire::ObjectRef {
    object_ref(kind, "shop", "web")
}

fn actions(response: &wire::ApplyResponse) -> Vec<wire::Action> {
    response.results.iter().map(wire::Result::action).collect()
}

#[tokio::test]
async fn a_batch_is_one_revision_and_survives_a_restart() {
    let mut control = Running::start().await;
    let applied = control.apply(shop()).await.unwrap();
    assert_eq!(applied.revision, 1);
    assert_eq!(actions(&applied), [wire::Action::Created; 4]);

    let again = control.apply(shop()).await.unwrap();
    assert_eq!(again.revision, 1, "nothing new, no revision");
    assert_eq!(actions(&again), [wire::Action::Unchanged; 4]);

    let mut control = Running::start_in(control.stop().await).await;
    let request =
        wire::ListRequest { kind: wire::Kind::Endpoint.into(), namespace: "shop".to_owned() };
    let listed = control.api.list(request).await.unwrap().into_inner();
    assert_eq!(listed.revision, 1);
    assert_eq!(listed.objects.len(), 2);
    let metadata = listed.objects[0].metadata.as_ref().unwrap();
    assert_eq!((metadata.name.as_str(), metadata.resource_version), ("web-1", 1));

    let status = control.api.status(wire::StatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!((status.services, status.endpoints, status.service_configs), (1, 2, 1));
    control.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_all_and_stores_nothing() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let request = wire::ApplyRequest {
        objects: vec![
            wire_config("shop/web", &[("", "v1", 50), ("", "v2", 50)]),
            wire_endpoint("shop/web-1", "web", "v1"),
            wire_endpoint("shop/web-3", "web", "v2"),
        ],
        dry_run: true,
    };
    let dry = control.api.apply(request).await.unwrap().into_inner();
    assert_eq!(dry.revision, 1);
    let expected = [wire::Action::Configured, wire::Action::Unchanged, wire::Action::Created];
    assert_eq!(actions(&dry), expected);
    assert!(dry.results[0].before.is_some() && dry.results[2].before.is_none());
    let version = |at: usize| {
        let after = dry.results[at].after.as_ref().unwrap();
        after.metadata.as_ref().unwrap().resource_version
    };
    assert_eq!((version(0), version(1)), (0, 1));
    let gone = control
        .api
        .get(wire::GetRequest { object: Some(object_ref(wire::Kind::Endpoint, "shop", "web-3")) });
    assert_eq!(gone.await.unwrap_err().code(), tonic::Code::NotFound);
    control.stop().await;
}

#[tokio::test]
async fn history_and_rollback() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    for weight in [50, 100] {
        let rules = [("", "v1", 100 - weight), ("", "v2", weight)];
        control.apply(vec![wire_config("shop/web", &rules)]).await.unwrap();
    }
    let object = Some(web(wire::Kind::ServiceConfig));
    let request = wire::HistoryRequest { object: object.clone() };
    let history = control.api.history(request.clone()).await.unwrap().into_inner();
    let revisions: Vec<u64> = history.changes.iter().map(|it| it.revision).collect();
    assert_eq!(revisions, [3, 2, 1]);
    assert!(history.changes[0].time_ms >= history.changes[2].time_ms);

    let rollback =
        |to_revision| wire::RollbackRequest { object: object.clone(), to_revision, dry_run: false };
    let back = control.api.rollback(rollback(0)).await.unwrap().into_inner();
    assert_eq!(back.revision, 4);
    assert_eq!(
        back.results[0].after.as_ref().unwrap().spec,
        history.changes[1].object.as_ref().unwrap().spec
    );
    let back = control.api.rollback(rollback(1)).await.unwrap().into_inner();
    assert_eq!(back.revision, 5);
    let future = control.api.rollback(rollback(6)).await.unwrap_err();
    assert_eq!(future.code(), tonic::Code::OutOfRange, "{future}");
    let same = control.api.rollback(rollback(5)).await.unwrap().into_inner();
    assert_eq!(actions(&same), [wire::Action::Unchanged]);

    let delete =
        wire::DeleteRequest { objects: vec![web(wire::Kind::ServiceConfig)], dry_run: false };
    control.api.delete(delete).await.unwrap();
    let revived = control.api.rollback(rollback(0)).await.unwrap().into_inner();
    assert_eq!(actions(&revived), [wire::Action::Created]);

    // Before it was created there was nothing to go back to.
    let service = wire::RollbackRequest {
        object: Some(web(wire::Kind::Service)),
        to_revision: 0,
        dry_run: false,
    };
    let error = control.api.rollback(service).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    control.stop().await;
}

#[tokio::test]
async fn concurrent_writers_all_get_a_revision_of_their_own() {
    let control = Running::start().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let mut api = control.api.clone();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for round in 0..20 {
                let name = format!("shop/e-{writer}-{round}");
                let request = wire::ApplyRequest {
                    objects: vec![wire_endpoint(&name, "web", "v1")],
                    dry_run: false,
                };
                revisions.push(api.apply(request).await.unwrap().into_inner().revision);
            }
            assert!(revisions.is_sorted());
            revisions
        });
    }
    let mut revisions = writers.join_all().await.concat();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=160).collect::<Vec<u64>>());
    control.stop().await;
}

#[tokio::test]
async fn health_and_metrics() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let get = async |path: &str| {
        let mut socket = tokio::net::TcpStream::connect(control.bound.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics").await;
    for line in [
        "mesh_control_revision 1\n",
        "mesh_control_objects{kind=\"Endpoint\"} 2\n",
        "mesh_control_writes_total{result=\"stored\"} 1\n",
        "mesh_control_writes_total{result=\"refused\"} 0\n",
        "mesh_control_store_commit_seconds_count 1\n",
        "mesh_control_leases 0\n",
        "mesh_xds_connected 0\n",
        "mesh_xds_pushes_total{type=\"mesh.v1.Endpoint\"} 0\n",
        "mesh_xds_nacks_total{type=\"mesh.v1.Revision\"} 0\n",
        "mesh_xds_convergence_seconds_count 0\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    control.stop().await;
}
