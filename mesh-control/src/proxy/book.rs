//! The builder behind a lock with its one task, and everybody who follows it.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::model::{Health, Kind, Object, ObjectName, ObjectRef};
use mesh_api::resource::HEALTH;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Audience, Builder, Change};
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
    audiences: Mutex<BTreeMap<Audience, watch::Sender<Option<Arc<Snapshot>>>>>,
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
            audiences: Mutex::default(),
        }
    }

    /// What an audience is to get, as long as anybody follows it. Nothing until the health of
    /// endpoints is known that are checked: clients go on with what they have.
    #[must_use]
    pub fn follow(&self, audience: Audience) -> watch::Receiver<Option<Arc<Snapshot>>> {
        let mut audiences = lock(&self.audiences);
        match audiences.entry(audience) {
            Entry::Occupied(served) => served.get().subscribe(),
            Entry::Vacant(new) => {
                self.wake.notify_one();
                new.insert(watch::Sender::default()).subscribe()
            }
        }
    }

    /// Takes over what a commit has changed.
    pub fn configured(&self, world: &Arc<World>, changed: impl Iterator<Item: Borrow<ObjectRef>>) {
        let mut pending = lock(&self.pending);
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
        let world = Arc::clone(&lock(&self.pending).world);
        let mut warm = !is_checked(&world);
        builder.build(&world, Instant::now());
        loop {
            let latest = health.borrow_and_update().clone();
            warm |= latest.is_some();
            let latest = latest.unwrap_or_default();
            let found = differences(&known, &latest);
            known = latest;
            self.advance(&mut builder, found, Instant::now());
            self.serve(&mut builder);
            if warm {
                self.publish(&builder);
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
        let mut pending = lock(&self.pending);
        let objects = std::mem::take(&mut pending.changed);
        let world = Arc::clone(&pending.world);
        drop(pending);
        if objects.is_empty() && health.is_empty() {
            builder.expire(now);
        } else {
            builder.update(Change { world, objects, health }, now);
        }
    }

    /// Has the builder serve whoever is there.
    fn serve(&self, builder: &mut Builder) {
        let mut audiences = lock(&self.audiences);
        audiences.retain(|_, sender| sender.receiver_count() > 0);
        let there = audiences.keys().cloned().collect();
        drop(audiences);
        builder.serve(there);
    }

    fn publish(&self, builder: &Builder) {
        for (audience, sender) in &*lock(&self.audiences) {
            // Who has just come is served in the next round.
            let Some(next) = builder.snapshot(audience) else { continue };
            sender.send_if_modified(|published| {
                let same = published.as_ref().is_some_and(|it| Arc::ptr_eq(it, next));
                if !same {
                    *published = Some(Arc::clone(next));
                }
                !same
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
