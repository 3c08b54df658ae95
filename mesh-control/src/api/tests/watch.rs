//! Watches: resync where they must, all changes in order where they can.

use std::collections::BTreeMap;

use mesh_api::wire::watch_event::Event;
use tonic::Streaming;

use super::*;
use crate::testing::PATIENCE;

async fn watch(control: &mut Running, from_revision: u64) -> Streaming<wire::WatchEvent> {
    let request = wire::WatchRequest { from_revision, ..wire::WatchRequest::default() };
    control.api.watch(request).await.unwrap().into_inner()
}

/// Short forms of all events up to the bookmark of a revision.
async fn upto(events: &mut Streaming<wire::WatchEvent>, revision: u64) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let event = event.unwrap().unwrap().unwrap();
        let text = match event.event.unwrap() {
            Event::Resync(_) => "resync".to_owned(),
            Event::Put(object) => {
                let metadata = object.metadata.unwrap();
                format!("put {}@{}", metadata.name, metadata.resource_version)
            }
            Event::Deleted(reference) => format!("deleted {}", reference.name),
            Event::Bookmark(_) if event.revision >= revision => return seen,
            Event::Bookmark(_) => continue,
        };
        seen.push(text);
    }
}

#[tokio::test]
async fn from_nothing_it_resyncs_and_then_follows() {
    let mut control = Running::start().await;
    let mut empty = watch(&mut control, 0).await;
    assert_eq!(upto(&mut empty, 0).await, ["resync"]);

    control.apply(shop()).await.unwrap();
    let expected = ["put web@1", "put web@1", "put web-1@1", "put web-2@1"];
    assert_eq!(upto(&mut empty, 1).await, expected);

    let mut late = watch(&mut control, 0).await;
    let all = upto(&mut late, 1).await;
    assert_eq!(all, ["resync", "put web@1", "put web-1@1", "put web-2@1", "put web@1"]);

    let delete = wire::DeleteRequest {
        objects: vec![object_ref(wire::Kind::Endpoint, "shop", "web-1")],
        dry_run: false,
    };
    control.api.delete(delete).await.unwrap();
    control.apply(vec![wire_endpoint("shop/web-2", "web", "v3")]).await.unwrap();
    for events in [&mut empty, &mut late] {
        assert_eq!(upto(events, 3).await, ["deleted web-1", "put web-2@3"]);
    }

    let mut replay = watch(&mut control, 1).await;
    assert_eq!(upto(&mut replay, 3).await, ["deleted web-1", "put web-2@3"]);
    let mut current = watch(&mut control, 3).await;
    assert!(upto(&mut current, 3).await.is_empty());
    control.stop().await;
}

#[tokio::test]
async fn from_the_future_it_resyncs() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    let mut events = watch(&mut control, 1000).await;
    assert_eq!(upto(&mut events, 1).await.len(), 5);
    control.stop().await;
}

#[tokio::test]
async fn kinds_and_namespaces_are_filtered() {
    let mut control = Running::start().await;
    control.apply(shop()).await.unwrap();
    control.apply(vec![wire_endpoint("other/e", "web", "v1")]).await.unwrap();
    for from_revision in [0, 1] {
        let request = wire::WatchRequest {
            kinds: vec![wire::Kind::Endpoint.into()],
            namespace: "other".to_owned(),
            from_revision,
        };
        let mut events = control.api.watch(request).await.unwrap().into_inner();
        let seen = upto(&mut events, 2).await;
        assert_eq!(seen.last().unwrap(), "put e@2");
        assert_eq!(seen.len(), if from_revision == 0 { 2 } else { 1 });
    }
    control.stop().await;
}

#[tokio::test]
async fn a_slow_watcher_misses_nothing() {
    let mut control = Running::start().await;
    let mut events = watch(&mut control, 0).await;
    upto(&mut events, 0).await;
    // Far more than fits into the stream's window, before the first is read.
    for round in 0..40 {
        let endpoint = |at| {
            let mut object = wire_endpoint(&format!("shop/e-{at}"), "web", "v1");
            let labels = &mut object.metadata.as_mut().unwrap().labels;
            labels.insert("round".to_owned(), format!("{round}{}", "x".repeat(200)));
            object
        };
        control.apply((0..400).map(endpoint).collect()).await.unwrap();
    }
    let mut versions = BTreeMap::new();
    for seen in upto(&mut events, 40).await {
        let (name, version) = seen.split_once('@').unwrap();
        let version: u64 = version.parse().unwrap();
        let before = versions.insert(name.to_owned(), version).unwrap_or(0);
        assert_eq!(before + 1, version, "{name} skipped a change");
    }
    assert_eq!(versions.len(), 400);
    control.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_watches_at_once() {
    let mut control = Running::start().await;
    let mut events = watch(&mut control, 0).await;
    upto(&mut events, 0).await;
    let started = Instant::now();
    control.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3));
    let end = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it must say why"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), tonic::Code::Unavailable);
}
