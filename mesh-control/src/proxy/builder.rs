//! Snapshots from changes. Pure: the time is passed in.
//!
//! A change of a service or its configuration translates that service again; one of an endpoint or
//! of its health only the endpoint sets that have it, and routes where a destination has lost its
//! last usable endpoint or got its first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::model::{Destination, Health, Kind, Label, ObjectName, ObjectRef, Port};
use mesh_xds::snapshot::{self, Snapshot};
use mesh_xds::translate::grpc::Library;
use mesh_xds::translate::{Named, ROUTES, TYPES, View, envoy, grpc, vacant};

use super::facts::Facts;
use super::near::{Audience, Dialect, Near};
use crate::world::World;

/// How long Envoy listens for a service that needs it no more: agents stop to send connections
/// there when they have the change, which is not before Envoy has it.
pub const LINGER: Duration = Duration::from_secs(10);

/// What has happened.
#[derive(Clone, Debug)]
pub struct Change {
    /// The world after it.
    pub world: Arc<World>,
    /// Objects that were put or removed.
    pub objects: BTreeSet<ObjectRef>,
    /// Endpoints of which something else is known; `None`: nothing any more.
    pub health: Vec<(ObjectName, Option<Health>)>,
}

/// What clients get, wherever they are.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// Every node's Envoy.
    pub envoy: Arc<Snapshot>,
    /// Every gRPC client that is not built on C-core.
    pub grpc: Arc<Snapshot>,
    /// Every gRPC client that is: the same, but for its routes.
    pub grpc_core: Arc<Snapshot>,
}

impl Snapshots {
    pub(super) const fn of(&self, dialect: Dialect) -> &Arc<Snapshot> {
        match dialect {
            Dialect::Envoy => &self.envoy,
            Dialect::Grpc(Library::Other) => &self.grpc,
            Dialect::Grpc(Library::Core) => &self.grpc_core,
        }
    }
}

type Names = BTreeSet<(&'static str, String)>;

/// What a service has in the snapshots.
#[derive(Debug, Default)]
struct Emitted {
    vacant: BTreeSet<Destination>,
    envoy: Names,
    grpc: Names,
    /// Where Envoy listens.
    ports: BTreeSet<Port>,
}

/// What a service that needs Envoy no more still has there.
#[derive(Debug)]
struct Leaving {
    until: Instant,
    names: Names,
    ports: BTreeSet<Port>,
}

/// Endpoints that have changed, by service: of which versions.
#[derive(Debug, Default)]
struct Touched(BTreeMap<ObjectName, Versions>);

#[derive(Debug)]
enum Versions {
    These(BTreeSet<Option<Label>>),
    All,
}

impl Touched {
    fn version(&mut self, (service, version): (ObjectName, Option<Label>)) {
        let versions = self.0.entry(service).or_insert(Versions::These(BTreeSet::new()));
        if let Versions::These(versions) = versions {
            versions.insert(version);
        }
    }

    fn has(&self, to: &Destination) -> bool {
        match self.0.get(&to.service) {
            Some(Versions::All) => true,
            Some(Versions::These(versions)) => {
                to.version.is_none() || versions.contains(&to.version)
            }
            None => false,
        }
    }
}

/// Builds snapshots from changes.
#[derive(Debug, Default)]
pub struct Builder {
    facts: Facts,
    emitted: BTreeMap<ObjectName, Emitted>,
    leaving: BTreeMap<ObjectName, Leaving>,
    snapshots: Snapshots,
    near: Near,
}

impl Builder {
    /// Of nothing yet, with an Envoy that listens at these addresses beside the loopback.
    #[must_use]
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self { facts: Facts::new(addresses), ..Self::default() }
    }

    /// Serves these audiences and no others.
    pub fn serve(&mut self, audiences: BTreeSet<Audience>) {
        self.near.serve(audiences, &self.emitted, &self.facts, &self.snapshots);
    }

    /// What an audience gets; `None` where it is not served.
    #[must_use]
    pub fn snapshot(&self, audience: &Audience) -> Option<&Arc<Snapshot>> {
        self.near.snapshot(audience)
    }

    /// What clients get, wherever they are.
    #[must_use]
    pub const fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// When something leaves next.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.leaving.values().map(|it| it.until).min()
    }

    /// Takes everything over as it is in a world.
    pub fn build(&mut self, world: &Arc<World>, now: Instant) {
        let objects = Kind::ALL.into_iter().flat_map(|kind| world.list(kind, None));
        let objects = objects.map(|stored| stored.object.reference()).collect();
        let change = Change { world: Arc::clone(world), objects, health: Vec::new() };
        self.update(change, now);
    }

    /// Takes a change over.
    pub fn update(&mut self, change: Change, now: Instant) {
        let Change { world, objects, health } = change;
        let revision = world.revision();
        self.facts.set_world(world);
        let (mut whole, mut touched) = (BTreeSet::new(), Touched::default());
        for ObjectRef { kind, name } in objects {
            match kind {
                Kind::Endpoint => {
                    self.facts.endpoint(&name).for_each(|home| touched.version(home));
                }
                Kind::ServiceConfig => drop(whole.insert(name)),
                Kind::Service => {
                    // Its ports say where its endpoints listen, also for other services' rules.
                    touched.0.insert(name.clone(), Versions::All);
                    whole.insert(name);
                }
            }
        }
        for (name, health) in health {
            if let Some(home) = self.facts.health(name, health) {
                touched.version(home);
            }
        }
        let world = self.facts.world();
        let mut owners: BTreeSet<ObjectName> = touched.0.keys().cloned().collect();
        let referrers = touched.0.keys().flat_map(|service| world.referrers(service));
        owners.extend(referrers.cloned());
        let mut edit = Edit::new(&self.snapshots, revision);
        for owner in owners.difference(&whole) {
            self.endpoints_of(owner, &touched, &mut edit);
        }
        for owner in &whole {
            self.all_of(owner, now, &mut edit);
        }
        self.leave(now, &mut edit);
        self.snapshots = edit.finish();
        owners.extend(whole);
        self.near.update(&owners, &self.facts, &self.snapshots);
    }

    /// Takes over that time has gone on.
    pub fn expire(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            let mut edit = Edit::new(&self.snapshots, self.facts.world().revision());
            self.leave(now, &mut edit);
            self.snapshots = edit.finish();
            self.near.update(&BTreeSet::new(), &self.facts, &self.snapshots);
        }
    }

    /// Translates a service whose destinations' endpoints have changed.
    fn endpoints_of(&mut self, owner: &ObjectName, touched: &Touched, edit: &mut Edit) {
        let (Some(view), Some(emitted)) =
            (self.facts.view(owner, None), self.emitted.get_mut(owner))
        else {
            return;
        };
        let only = |to: &Destination| touched.has(to);
        edit.envoy.put(envoy::assignments(&view, &only));
        edit.grpc.put(grpc::assignments(&view, &only));
        let vacant = vacant(&view);
        if vacant != emitted.vacant {
            edit.envoy.put(envoy::policy(&view, &vacant));
            edit.put_grpc_policy(&view, &vacant);
            emitted.vacant = vacant;
        }
    }

    /// Translates a service from nothing.
    fn all_of(&mut self, owner: &ObjectName, now: Instant, edit: &mut Edit) {
        let before = self.emitted.remove(owner).unwrap_or_default();
        let mut after = Emitted::default();
        if let Some(view) = self.facts.view(owner, None) {
            after.vacant = vacant(&view);
            after.ports = envoy::listeners(&view).collect();
            let all = |_: &Destination| true;
            after.envoy.extend(edit.envoy.put(envoy::policy(&view, &after.vacant)));
            after.envoy.extend(edit.envoy.put(envoy::assignments(&view, &all)));
            after.grpc.extend(edit.put_grpc_policy(&view, &after.vacant));
            after.grpc.extend(edit.grpc.put(grpc::assignments(&view, &all)));
        }
        edit.remove_grpc(before.grpc.difference(&after.grpc));
        if after.envoy.is_empty() && !before.envoy.is_empty() {
            let until = now.checked_add(LINGER).unwrap_or(now);
            let leaving = Leaving { until, names: before.envoy, ports: before.ports };
            self.leaving.insert(owner.clone(), leaving);
        } else {
            edit.envoy.remove(before.envoy.difference(&after.envoy));
        }
        if !after.envoy.is_empty() {
            self.take_over(owner, &after, edit);
        }
        if self.facts.view(owner, None).is_some() {
            self.emitted.insert(owner.clone(), after);
        }
    }

    /// Has a service take what it had before it left, and ports that are allotted to it now.
    fn take_over(&mut self, owner: &ObjectName, after: &Emitted, edit: &mut Edit) {
        self.leaving.retain(|name, leaving| {
            let stays = name != owner && leaving.ports.is_disjoint(&after.ports);
            if !stays {
                edit.envoy.remove(leaving.names.difference(&after.envoy));
            }
            stays
        });
    }

    /// Removes what has lingered long enough.
    fn leave(&mut self, now: Instant, edit: &mut Edit) {
        self.leaving.retain(|_, leaving| {
            let stays = leaving.until > now;
            if !stays {
                edit.envoy.remove(leaving.names.iter());
            }
            stays
        });
    }
}

/// All snapshots while they change.
struct Edit {
    envoy: Draft,
    grpc: Draft,
    /// Only the routes: the rest is shared.
    grpc_core: Draft,
}

impl Edit {
    fn new(snapshots: &Snapshots, revision: u64) -> Self {
        let Snapshots { envoy, grpc, grpc_core } = snapshots;
        Self {
            envoy: Draft::new(envoy, revision),
            grpc: Draft::new(grpc, revision),
            grpc_core: Draft::new(grpc_core, revision),
        }
    }

    fn finish(self) -> Snapshots {
        let Self { envoy, grpc, mut grpc_core } = self;
        let has_changed = grpc.changes > 0;
        let grpc = grpc.finish();
        if has_changed {
            let shared = TYPES.into_iter().filter(|type_url| *type_url != ROUTES);
            shared.for_each(|type_url| grpc_core.edit(|next| next.type_from(&grpc, type_url)));
        }
        Snapshots { envoy: envoy.finish(), grpc, grpc_core: grpc_core.finish() }
    }

    fn put_grpc_policy(&mut self, view: &View<'_>, vacant: &BTreeSet<Destination>) -> Names {
        self.grpc_core.put(grpc::routes(view, vacant, Library::Core));
        self.grpc.put(grpc::policy(view, vacant))
    }

    fn remove_grpc<'n, I: Iterator<Item = &'n (&'static str, String)> + Clone>(
        &mut self,
        names: I,
    ) {
        let routes = names.clone().filter(|(type_url, _)| *type_url == ROUTES);
        self.grpc_core.remove(routes);
        self.grpc.remove(names);
    }
}

/// A snapshot while it changes.
struct Draft {
    previous: Arc<Snapshot>,
    next: snapshot::Builder,
    changes: usize,
}

impl Draft {
    fn new(previous: &Arc<Snapshot>, revision: u64) -> Self {
        let next = Snapshot::edit(previous, revision);
        Self { previous: Arc::clone(previous), next, changes: 0 }
    }

    fn put(&mut self, found: Vec<Named>) -> Names {
        let mut names = Names::new();
        for Named { type_url, name, resource } in found {
            let before = self.previous.get(type_url, &name);
            if before.is_none_or(|before| **before != resource) {
                self.edit(|next| next.insert(type_url, &name, resource));
            }
            names.insert((type_url, name));
        }
        names
    }

    fn remove<'n, I: Iterator<Item = &'n (&'static str, String)>>(&mut self, names: I) {
        for (type_url, name) in names {
            self.edit(|next| next.remove(type_url, name));
        }
    }

    fn edit(&mut self, change: impl FnOnce(snapshot::Builder) -> snapshot::Builder) {
        let next = std::mem::replace(&mut self.next, Snapshot::builder(0));
        self.next = change(next);
        self.changes += 1;
    }

    /// The snapshot before where nothing has changed, so that nobody has to look.
    fn finish(self) -> Arc<Snapshot> {
        if self.changes == 0 { self.previous } else { Arc::new(self.next.build()) }
    }
}
