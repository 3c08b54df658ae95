//! Registration, heartbeats, expiry; with real time, because the lease's clock is the system's.

use super::*;
use crate::testing::{PATIENCE, leased};

const TTL: Duration = Duration::from_secs(1);

fn register(name: &str, ttl: Option<Duration>) -> wire::RegisterRequest {
    let endpoint = wire_endpoint(name, "web", "v1");
    wire::RegisterRequest {
        endpoint: Some(match ttl {
            Some(ttl) => leased(endpoint, ttl),
            None => endpoint,
        }),
    }
}

fn heartbeat(name: &str) -> wire::HeartbeatRequest {
    wire::HeartbeatRequest { namespace: "shop".to_owned(), name: name.to_owned() }
}

#[tokio::test]
async fn an_endpoint_lives_as_long_as_heartbeats_come() {
    let mut control = Running::start().await;
    for name in ["shop/beats", "shop/silent"] {
        let registered = control.api.register(register(name, Some(TTL))).await.unwrap();
        assert_eq!(registered.into_inner().ttl_ms, 1000);
    }
    control.api.register(register("shop/permanent", None)).await.unwrap();

    // The expiry is a revision like any other.
    let request = wire::WatchRequest { from_revision: 3, ..wire::WatchRequest::default() };
    let mut watch = control.api.watch(request).await.unwrap().into_inner();
    let mut beating = control.api.clone();
    let deleted = async {
        loop {
            let event = watch.message().await.unwrap().unwrap();
            if let Some(wire::watch_event::Event::Deleted(reference)) = event.event {
                return (event.revision, reference.name);
            }
        }
    };
    let beats = async {
        loop {
            beating.heartbeat(heartbeat("beats")).await.unwrap();
            tokio::time::sleep(TTL / 4).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            gone = deleted => gone,
            () = beats => unreachable!("beats for ever"),
        }
    });
    assert_eq!(gone.await.unwrap(), (4, "silent".to_owned()));

    let error = control.api.heartbeat(heartbeat("silent")).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
    let permanent = control.api.heartbeat(heartbeat("permanent")).await.unwrap();
    assert_eq!(permanent.into_inner().ttl_ms, 0);

    // After a restart the lease is fresh, and runs out as before.
    let mut control = Running::start_in(control.stop().await).await;
    let alive = control.api.heartbeat(heartbeat("beats")).await.unwrap();
    assert_eq!(alive.into_inner().ttl_ms, 1000);
    let expired = tokio::time::timeout(PATIENCE, async {
        while control.api.heartbeat(heartbeat("beats")).await.is_ok() {
            tokio::time::sleep(TTL * 2).await;
        }
    });
    expired.await.unwrap();
    control.stop().await;
}

#[tokio::test]
async fn register_and_deregister() {
    let mut control = Running::start().await;
    let service =
        wire::RegisterRequest { endpoint: Some(wire_service("shop/web", "10.96.0.1", 80)) };
    let error = control.api.register(service).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    let first = control.api.register(register("shop/e", None)).await.unwrap();
    let second = control.api.register(register("shop/e", None)).await.unwrap();
    assert_eq!(first.into_inner().revision, second.into_inner().revision);
    let lease = control.api.register(register("shop/e", Some(TTL))).await.unwrap_err();
    assert_eq!(lease.code(), tonic::Code::AlreadyExists, "{lease}");
    let request = wire::DeregisterRequest { namespace: "shop".to_owned(), name: "e".to_owned() };
    let gone = control.api.deregister(request.clone()).await.unwrap();
    assert_eq!(gone.into_inner().revision, 2);
    let error = control.api.deregister(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
    control.stop().await;
}
