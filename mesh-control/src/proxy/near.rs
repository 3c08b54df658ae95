//! What clients are told in some places and not in others: of services whose configuration asks for
//! near endpoints. All else stands in the snapshots that everybody shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::model::{NodeLocality, ObjectName};
use mesh_xds::snapshot::{Resources, Snapshot};
use mesh_xds::translate::grpc::Library;
use mesh_xds::translate::{Named, View, envoy, grpc, vacant};

use super::builder::Snapshots;
use super::facts::Facts;

/// What resources look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// For a node's Envoy.
    Envoy,
    /// For gRPC clients that are built on this.
    Grpc(Library),
}

/// Clients that are told the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Audience {
    /// How they are told.
    pub dialect: Dialect,
    /// Where they are.
    pub here: NodeLocality,
}

/// All audiences, and what each is told.
#[derive(Debug, Default)]
pub(super) struct Near(BTreeMap<Audience, Told>);

type Names = BTreeSet<(&'static str, String)>;

#[derive(Debug, Default)]
struct Told {
    /// What stands in the place of shared resources, by type, and whose it is.
    instead: BTreeMap<&'static str, Arc<Resources>>,
    names: BTreeMap<ObjectName, Names>,
    /// Whether these are not what the snapshot was made of.
    has_changed: bool,
    shared: Arc<Snapshot>,
    snapshot: Arc<Snapshot>,
}

impl Near {
    /// Serves these audiences and no others. `owners` has all services.
    pub(super) fn serve<V>(
        &mut self,
        audiences: BTreeSet<Audience>,
        owners: &BTreeMap<ObjectName, V>,
        facts: &Facts,
        shared: &Snapshots,
    ) {
        self.0.retain(|audience, _| audiences.contains(audience));
        for audience in audiences {
            self.0.entry(audience).or_insert_with_key(|audience| {
                let mut told = Told::default();
                told.update(owners.keys(), audience, facts, shared);
                told
            });
        }
    }

    /// Takes over that what these services are translated to may have changed.
    pub(super) fn update(
        &mut self,
        owners: &BTreeSet<ObjectName>,
        facts: &Facts,
        shared: &Snapshots,
    ) {
        for (audience, told) in &mut self.0 {
            told.update(owners.iter(), audience, facts, shared);
        }
    }

    pub(super) fn snapshot(&self, audience: &Audience) -> Option<&Arc<Snapshot>> {
        self.0.get(audience).map(|told| &told.snapshot)
    }
}

impl Told {
    fn update<'o, I: Iterator<Item = &'o ObjectName>>(
        &mut self,
        owners: I,
        audience: &Audience,
        facts: &Facts,
        shared: &Snapshots,
    ) {
        for owner in owners {
            self.refresh(owner, audience, facts, shared);
        }
        self.publish(audience, facts, shared);
    }

    fn refresh(
        &mut self,
        owner: &ObjectName,
        audience: &Audience,
        facts: &Facts,
        shared: &Snapshots,
    ) {
        let view = facts.view(owner, Some(&audience.here)).filter(View::is_local);
        let shared = shared.of(audience.dialect);
        let mut found = view.map(|view| translate(&view, audience.dialect)).unwrap_or_default();
        found.retain(|it| {
            shared.get(it.type_url, &it.name).is_some_and(|shared| **shared != it.resource)
        });
        let before = self.names.remove(owner).unwrap_or_default();
        let mut names = Names::new();
        for Named { type_url, name, resource } in found {
            let instead = self.instead.entry(type_url).or_default();
            if instead.get(&name).is_none_or(|before| **before != resource) {
                Arc::make_mut(instead).insert(&name, Arc::new(resource));
                self.has_changed = true;
            }
            names.insert((type_url, name));
        }
        for (type_url, name) in before.difference(&names) {
            if let Some(instead) = self.instead.get_mut(type_url) {
                Arc::make_mut(instead).remove(name);
                self.has_changed = true;
            }
        }
        if !names.is_empty() {
            self.names.insert(owner.clone(), names);
        }
    }

    fn publish(&mut self, audience: &Audience, facts: &Facts, shared: &Snapshots) {
        let shared = shared.of(audience.dialect);
        if !std::mem::take(&mut self.has_changed) && Arc::ptr_eq(&self.shared, shared) {
            return;
        }
        self.shared = Arc::clone(shared);
        self.instead.retain(|_, others| !others.is_empty());
        if self.instead.is_empty() {
            self.snapshot = Arc::clone(shared);
            return;
        }
        let next = Snapshot::edit(shared, facts.world().revision());
        let next = self
            .instead
            .iter()
            .fold(next, |next, (type_url, others)| next.instead(type_url, others));
        self.snapshot = Arc::new(next.build());
    }
}

/// What differs between places is among these.
fn translate(view: &View<'_>, dialect: Dialect) -> Vec<Named> {
    let (vacant, all) = (vacant(view), |_: &_| true);
    let (policy, assignments) = match dialect {
        Dialect::Envoy => (envoy::policy(view, &vacant), envoy::assignments(view, &all)),
        Dialect::Grpc(library) => {
            (grpc::routes(view, &vacant, library), grpc::assignments(view, &all))
        }
    };
    policy.into_iter().chain(assignments).collect()
}
