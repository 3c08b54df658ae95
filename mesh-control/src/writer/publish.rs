//! What a commit makes known: the world to the API, the snapshot to the xDS streams. Built on the
//! writer's thread, so that no revision is skipped and no task has to wake up in between.

use std::sync::Arc;
use std::time::Instant;

use mesh_telemetry::trace_span;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::watch;

use super::traced::Traced;
use crate::health::book::HealthBook;
use crate::proxy::ProxyBook;
use crate::readiness::{Readiness, State};
use crate::snapshot;
use crate::store::Batch;
use crate::world::World;
use crate::xds::Nodes;

/// The sending ends of everything that follows the store.
#[derive(Debug)]
pub struct Publisher {
    world: watch::Sender<Arc<World>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    nodes: Arc<Nodes>,
    readiness: Arc<Readiness>,
    health: Arc<HealthBook>,
    proxies: Arc<ProxyBook>,
}

impl Publisher {
    /// Publishes this world, and those to come.
    #[must_use]
    pub fn new(
        world: Arc<World>,
        nodes: Arc<Nodes>,
        readiness: Arc<Readiness>,
        health: Arc<HealthBook>,
        proxies: Arc<ProxyBook>,
    ) -> Self {
        let snapshot = Arc::new(snapshot::build(&world));
        Self {
            world: watch::Sender::new(world),
            snapshot: watch::Sender::new(snapshot),
            nodes,
            readiness,
            health,
            proxies,
        }
    }

    /// The current world, always stored.
    #[must_use]
    pub fn worlds(&self) -> watch::Receiver<Arc<World>> {
        self.world.subscribe()
    }

    /// The snapshot of the current world.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    pub(super) fn store_failed(&self) {
        self.readiness.set(State::StoreFailed);
    }

    pub(super) fn publish(
        &self,
        world: &Arc<World>,
        batches: &[Batch],
        traced: &Traced,
        at: Instant,
    ) {
        let spans = traced.each(|span, _| trace_span!(parent: span, "snapshot"));
        for batch in batches {
            self.nodes.committed(batch.revision, at);
        }
        // Before anybody can be sent one of these revisions.
        for (revision, context) in traced.contexts() {
            self.nodes.traces().note(revision, context);
        }
        let writes = batches.iter().flat_map(|batch| &batch.writes);
        let changed = writes.map(|write| &write.reference);
        let previous = Arc::clone(&self.snapshot.borrow());
        let next = snapshot::update(&previous, world, changed.clone());
        self.world.send_replace(Arc::clone(world));
        // Before anybody can report about what is new.
        self.health.configured(world, changed.clone(), at);
        self.proxies.configured(world, changed);
        // Before a push, which belongs to the time after.
        drop(spans);
        self.snapshot.send_replace(Arc::new(next));
    }
}
