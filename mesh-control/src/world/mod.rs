//! Everything that is stored, in memory, with the indexes that validation needs. A clone costs
//! nothing and shares all it can: the writer plans on a clone and drops it when a batch is
//! refused; readers keep the one they started with.

mod endpoints;
mod index;

use std::net::IpAddr;
use std::sync::Arc;

pub use endpoints::{Endpoints, Family};
use index::Index;
use mesh_api::model::{Kind, Label, Name, Object, ObjectName, ObjectRef, Port, Protocol};
use rpds::RedBlackTreeMapSync;

/// An object and when it last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The object.
    pub object: Object,
    /// Revision of its last change.
    pub resource_version: u64,
}

/// Where a service is reached: unique in the mesh.
pub type Frontend = (IpAddr, Port, Protocol);

/// All objects at one revision.
#[derive(Clone, Debug, Default)]
pub struct World {
    revision: u64,
    services: RedBlackTreeMapSync<ObjectName, Arc<Stored>>,
    endpoints: RedBlackTreeMapSync<ObjectName, Arc<Stored>>,
    service_configs: RedBlackTreeMapSync<ObjectName, Arc<Stored>>,
    index: Index,
}

impl World {
    /// The world that holds these objects; later ones replace earlier ones of the same name.
    #[must_use]
    pub fn new(revision: u64, objects: impl IntoIterator<Item = Stored>) -> Self {
        let mut world = Self { revision, ..Self::default() };
        for stored in objects {
            world.put(stored);
        }
        world
    }

    /// Revision of the last change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Says which revision this is.
    pub const fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// One object.
    #[must_use]
    pub fn get(&self, reference: &ObjectRef) -> Option<&Arc<Stored>> {
        self.of(reference.kind).get(&reference.name)
    }

    /// Whether a service of this name exists.
    #[must_use]
    pub fn has_service(&self, name: &ObjectName) -> bool {
        self.services.contains_key(name)
    }

    /// Objects of a kind in name order, of one namespace or of all.
    pub fn list(
        &self,
        kind: Kind,
        namespace: Option<&Name>,
    ) -> impl Iterator<Item = &Arc<Stored>> + use<'_> {
        let namespace = namespace.cloned();
        self.of(kind)
            .iter()
            .filter(move |(name, _)| namespace.as_ref().is_none_or(|it| name.namespace == *it))
            .map(|(_, stored)| stored)
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.of(kind).size()
    }

    /// The service that holds a frontend.
    #[must_use]
    pub fn holder(&self, frontend: Frontend) -> Option<&ObjectName> {
        self.index.holder(frontend)
    }

    /// Versions of a service's endpoints; `None` stands for endpoints without one.
    pub fn versions(&self, service: &ObjectName) -> impl Iterator<Item = Option<&Label>> {
        self.endpoints_of(service).into_iter().flat_map(Endpoints::versions)
    }

    /// What a service's endpoints have; `None` where it has none.
    #[must_use]
    pub fn endpoints_of(&self, service: &ObjectName) -> Option<&Endpoints> {
        self.index.endpoints(service)
    }

    /// The service configs that name a service: its own, and those that send it connections.
    pub fn referrers(&self, service: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        self.index.referrers(service)
    }

    /// Adds or replaces an object. Where it claims a frontend that another service holds, it
    /// takes it: check [`World::holder`] before.
    pub fn put(&mut self, stored: Stored) {
        let reference = stored.object.reference();
        let before = self.get(&reference).cloned();
        if let Some(before) = before {
            self.index.remove(&before.object);
        }
        self.index.add(&stored.object);
        self.of_mut(reference.kind).insert_mut(reference.name, Arc::new(stored));
    }

    /// Removes an object and returns it.
    pub fn remove(&mut self, reference: &ObjectRef) -> Option<Arc<Stored>> {
        let before = Arc::clone(self.get(reference)?);
        self.index.remove(&before.object);
        self.of_mut(reference.kind).remove_mut(&reference.name);
        Some(before)
    }

    const fn of(&self, kind: Kind) -> &RedBlackTreeMapSync<ObjectName, Arc<Stored>> {
        match kind {
            Kind::Service => &self.services,
            Kind::Endpoint => &self.endpoints,
            Kind::ServiceConfig => &self.service_configs,
        }
    }

    const fn of_mut(&mut self, kind: Kind) -> &mut RedBlackTreeMapSync<ObjectName, Arc<Stored>> {
        match kind {
            Kind::Service => &mut self.services,
            Kind::Endpoint => &mut self.endpoints,
            Kind::ServiceConfig => &mut self.service_configs,
        }
    }
}

/// Every frontend that a service claims.
pub fn frontends(
    service: &mesh_api::model::Service,
) -> impl Iterator<Item = (Frontend, usize, usize)> {
    service.vips.iter().enumerate().flat_map(move |(at, vip)| {
        let of = move |(port_at, port): (usize, &mesh_api::model::ServicePort)| {
            ((*vip, port.port, port.protocol), at, port_at)
        };
        service.ports.iter().enumerate().map(of)
    })
}
