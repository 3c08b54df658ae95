//! The builder behind a lock with its one task, and everybody who follows it.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::model::{Health, Kind, Object, ObjectName, ObjectRef};
use mesh_api::resource::HEALTH;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Builder, Change, Snapshots};
use crate::health::status_of;
use crate::world::World;

/// How long it sleeps at most.
const LONG: Duration = Duration::from_hours(1);

/// The snapshots for Envoy and gRPC, and what is to become of them.
#[derive(Debug)]
pub struct ProxyBook {
    /// Where Envoy listens beside the loopback addresses.
    addresses: Vec<IpAddr>,
    pending: Mutex<Pending>,
    wake: Notify,
    envoy: watch::Sender<Option<Arc<Snapshot>>>,
    grpc: watch::Sender<Option<Arc<Snapshot>>>,
    grpc_core: watch::Sender<Option<Arc<Snapshot>>>,
}

/// Changes that are not translated yet.
#[derive(Debug)]
struct Pending {
    world: Arc<World>,
    changed: BTreeSet<ObjectRef>,
}

impl ProxyBook {
    /// Of this world, and those to come; Envoy listens at these addresses beside the loopback.
    /// Nothing is published before [`ProxyBook::run`].
    #[must_use]
    pub fn new(world: Arc<World>, addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            pending: Mutex::new(Pending { world, changed: BTreeSet::new() }),
            wake: Notify::new(),
            envoy: watch::Sender::new(None),
            grpc: watch::Sender::new(None),
            grpc_core: watch::Sender::new(None),
        }
    }

    /// What every node's Envoy is to get. Nothing until the health of endpoints is known that are
    /// checked: clients go on with what they have.
    #[must_use]
    pub fn envoy(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.envoy.subscribe()
    }

    /// What every gRPC client is to get that is not built on C-core, as [`ProxyBook::envoy`].
    #[must_use]
    pub fn grpc(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.grpc.subscribe()
    }

    /// What every gRPC client is to get that is built on C-core, as [`ProxyBook::envoy`].
    #[must_use]
    pub fn grpc_core(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.grpc_core.subscribe()
    }

    /// Takes over what a commit has changed.
    pub fn configured(&self, world: &Arc<World>, changed: impl Iterator<Item: Borrow<ObjectRef>>) {
        let mut pending = self.lock();
        pending.world = Arc::clone(world);
        pending.changed.extend(changed.map(|it| it.borrow().clone()));
        drop(pending);
        self.wake.notify_one();
    }

    /// Translates until the shutdown. `health` is nothing until the warm-up is over.
    pub async fn run(
        &self,
        mut health: watch::Receiver<Option<Arc<Snapshot>>>,
        shutdown: CancellationToken,
    ) {
        let mut builder = Builder::new(self.addresses.clone());
        let mut known = Arc::new(Snapshot::default());
        let world = Arc::clone(&self.lock().world);
        let mut warm = !is_checked(&world);
        builder.build(&world, Instant::now());
        loop {
            let latest = health.borrow_and_update().clone();
            warm |= latest.is_some();
            let latest = latest.unwrap_or_default();
            let found = differences(&known, &latest);
            known = latest;
            self.advance(&mut builder, found, Instant::now());
            if warm {
                self.publish(builder.snapshots());
            }
            let until = builder.due().unwrap_or_else(|| Instant::now() + LONG);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => {}
                // Its sender lives as long as the control plane.
                _ = health.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    fn advance(
        &self,
        builder: &mut Builder,
        health: Vec<(ObjectName, Option<Health>)>,
        now: Instant,
    ) {
        let mut pending = self.lock();
        let objects = std::mem::take(&mut pending.changed);
        let world = Arc::clone(&pending.world);
        drop(pending);
        if objects.is_empty() && health.is_empty() {
            builder.expire(now);
        } else {
            builder.update(Change { world, objects, health }, now);
        }
    }

    fn publish(&self, next: &Snapshots) {
        let feeds = [
            (&self.envoy, &next.envoy),
            (&self.grpc, &next.grpc),
            (&self.grpc_core, &next.grpc_core),
        ];
        for (sender, next) in feeds {
            sender.send_if_modified(|published| {
                let same = published.as_ref().is_some_and(|it| Arc::ptr_eq(it, next));
                if !same {
                    *published = Some(Arc::clone(next));
                }
                !same
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of nothing.
impl Default for ProxyBook {
    fn default() -> Self {
        Self::new(Arc::default(), Vec::new())
    }
}

/// Whether any endpoint is checked.
fn is_checked(world: &World) -> bool {
    world.list(Kind::ServiceConfig, None).any(|stored| match &stored.object {
        Object::ServiceConfig(config) => config.health_check.is_some(),
        Object::Service(_) | Object::Endpoint(_) => false,
    })
}

/// What is known now and was not, or otherwise.
fn differences(before: &Snapshot, after: &Snapshot) -> Vec<(ObjectName, Option<Health>)> {
    let of = |snapshot: &'_ Snapshot| snapshot.resources(HEALTH).cloned().unwrap_or_default();
    let (before, after) = (of(before), of(after));
    let mut found = Vec::new();
    for (name, resource) in after.apart_from(&before) {
        if before.get(name) != Some(resource)
            && let Ok(name) = name.parse()
        {
            found.push((name, status_of(resource)));
        }
    }
    for (name, _) in before.apart_from(&after) {
        if !after.contains_key(name)
            && let Ok(name) = name.parse()
        {
            found.push((name, None));
        }
    }
    found
}
