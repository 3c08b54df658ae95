//! Watches that fall behind a log that is short: whatever is read when, the events lead to what
//! is stored. Without sockets, so that reading and writing can be interleaved at will.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use mesh_api::wire::watch_event::Event;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::api::watch::Watch;
use crate::metrics::Metrics;
use crate::store::redb::{Limits, RedbStore};
use crate::testing::{endpoint, health_book};
use crate::writer::{Publisher, Writer};

const SHORT: Limits = Limits { history: 2, log: 6 };

fn api(data: &TempDir) -> Api {
    let metrics = Arc::new(Metrics::new());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(data.path(), SHORT).unwrap());
    let leases = Arc::new(LeaseBook::default());
    let nodes = Arc::new(Nodes::new(Arc::clone(&metrics)));
    let health = health_book(&metrics);
    let publisher =
        Publisher::new(Arc::default(), Arc::clone(&nodes), Arc::default(), health, Arc::default());
    let worlds = publisher.worlds();
    let (writer, handle) =
        Writer::new(Arc::clone(&store), Arc::default(), Arc::clone(&leases), publisher, metrics);
    std::thread::spawn(move || writer.run());
    let shutdown = CancellationToken::new();
    Api { writer: handle, store, worlds, leases, nodes, shutdown }
}

#[derive(Clone, Debug)]
enum Step {
    /// Put, or delete where there is one.
    Write(u8, Option<u8>),
    /// Take so many events, as far as there are.
    Read(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8, proptest::option::weighted(0.7, 0..50_u8))
            .prop_map(|(at, content)| Step::Write(at, content)),
        1 => (1..8_u8).prop_map(Step::Read),
    ]
}

/// What a client knows.
#[derive(Debug, Default)]
struct Mirror {
    objects: BTreeMap<String, wire::Object>,
    revision: u64,
    resyncs: usize,
    /// Revision of the last bookmark.
    complete: Option<u64>,
}

impl Mirror {
    fn take(&mut self, event: wire::WatchEvent) {
        assert!(event.revision >= self.revision, "out of order");
        self.revision = event.revision;
        match event.event.unwrap() {
            Event::Resync(_) => {
                self.objects.clear();
                self.resyncs += 1;
            }
            Event::Put(object) => {
                let name = object.metadata.as_ref().unwrap().name.clone();
                self.objects.insert(name, object);
            }
            Event::Deleted(reference) => {
                assert!(self.objects.remove(&reference.name).is_some(), "deleted twice");
            }
            Event::Bookmark(_) => self.complete = Some(event.revision),
        }
    }
}

async fn interleave(steps: Vec<Step>) -> usize {
    let data = TempDir::new().unwrap();
    let api = api(&data);
    let watch = Watch::new(&api, &wire::WatchRequest::default()).unwrap();
    let mut events = Box::pin(watch.into_stream());
    let mut mirror = Mirror::default();
    for step in steps {
        match step {
            Step::Write(at, content) => {
                let object = endpoint(&format!("shop/e-{at}"), "web", &format!("v{content:?}"));
                let batch = match content {
                    Some(_) => Batch::put([object]),
                    None => Batch::delete([object.reference()]),
                };
                match api.writer.write(batch).await {
                    Ok(_) | Err(WriteError::Refused(validate::Refusal::Absent(_))) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Read(count) => {
                for _ in 0..count {
                    if mirror.complete == Some(api.world().revision()) {
                        break;
                    }
                    mirror.take(events.next().await.unwrap().unwrap());
                }
            }
        }
    }
    let world = api.world();
    while mirror.complete != Some(world.revision()) {
        mirror.take(events.next().await.unwrap().unwrap());
    }
    let stored = world.list(Kind::Endpoint, None).map(|stored| convert::object(stored));
    assert_eq!(mirror.objects.into_values().collect::<Vec<_>>(), stored.collect::<Vec<_>>());
    mirror.resyncs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_read_when_leads_to_what_is_stored(
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(interleave(steps));
    }
}

#[tokio::test]
async fn beyond_the_log_it_resyncs_instead_of_skipping() {
    let writes = |count: u8| (0..count).map(|at| Step::Write(at % 3, Some(at)));
    let near: Vec<Step> = [Step::Read(2)].into_iter().chain(writes(6)).collect();
    assert_eq!(interleave(near).await, 1, "only the first");
    let far: Vec<Step> = [Step::Read(2)].into_iter().chain(writes(7)).collect();
    assert_eq!(interleave(far).await, 2);
}
