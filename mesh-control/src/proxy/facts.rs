//! What translators look up: services by name, and the endpoints of each with their health. Kept
//! beside the world, which has no list of a service's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::model::{
    Endpoint, Health, Kind, Label, NodeLocality, Object, ObjectName, ObjectRef, Service,
    ServiceConfig,
};
use mesh_xds::translate::{Instance, Mesh, View};

use crate::world::World;

/// The service and version that an endpoint belongs to.
pub(super) type Home = (ObjectName, Option<Label>);

#[derive(Debug, Default)]
pub(super) struct Facts {
    world: Arc<World>,
    homes: BTreeMap<ObjectName, Home>,
    members: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    health: BTreeMap<ObjectName, Health>,
    /// Where Envoy listens beside the loopback addresses.
    addresses: Vec<IpAddr>,
}

impl Facts {
    pub(super) fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, ..Self::default() }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn set_world(&mut self, world: Arc<World>) {
        self.world = world;
    }

    /// Takes over an endpoint as it is in the world. Returns where it was and where it is.
    pub(super) fn endpoint(&mut self, name: &ObjectName) -> impl Iterator<Item = Home> + use<> {
        let before = self.homes.remove(name);
        if let Some((service, _)) = &before
            && let Some(members) = self.members.get_mut(service)
        {
            members.remove(name);
            if members.is_empty() {
                self.members.remove(service);
            }
        }
        let found = endpoint(&self.world, name);
        let after = found.map(|it| (it.service.clone(), it.version.clone()));
        if let Some(home) = &after {
            self.homes.insert(name.clone(), home.clone());
            self.members.entry(home.0.clone()).or_default().insert(name.clone());
        }
        before.into_iter().chain(after)
    }

    /// Takes over what is known of an endpoint. Returns where it is, if that is news.
    pub(super) fn health(&mut self, name: ObjectName, health: Option<Health>) -> Option<Home> {
        let home = self.homes.get(&name).cloned();
        let before = match health {
            Some(health) => self.health.insert(name, health),
            None => self.health.remove(&name),
        };
        home.filter(|_| before != health)
    }

    /// A service to translate for clients in a place, or anywhere; `None` where there is none.
    pub(super) fn view<'a>(
        &'a self,
        name: &ObjectName,
        here: Option<&'a NodeLocality>,
    ) -> Option<View<'a>> {
        let service = Mesh::service(self, name)?;
        Some(View { mesh: self, service, config: self.config(name), here })
    }

    fn config(&self, name: &ObjectName) -> Option<&ServiceConfig> {
        match get(&self.world, Kind::ServiceConfig, name)? {
            Object::ServiceConfig(config) => Some(config),
            Object::Service(_) | Object::Endpoint(_) => None,
        }
    }
}

impl Mesh for Facts {
    fn service(&self, name: &ObjectName) -> Option<&Service> {
        match get(&self.world, Kind::Service, name)? {
            Object::Service(service) => Some(service),
            Object::Endpoint(_) | Object::ServiceConfig(_) => None,
        }
    }

    fn instances(&self, service: &ObjectName) -> Vec<Instance<'_>> {
        let members = self.members.get(service).into_iter().flatten();
        let instance = |name| {
            let health = self.health.get(name).copied();
            Some(Instance { endpoint: endpoint(&self.world, name)?, health })
        };
        members.filter_map(instance).collect()
    }

    fn proxy_addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

fn get<'w>(world: &'w World, kind: Kind, name: &ObjectName) -> Option<&'w Object> {
    let reference = ObjectRef { kind, name: name.clone() };
    world.get(&reference).map(|stored| &stored.object)
}

fn endpoint<'w>(world: &'w World, name: &ObjectName) -> Option<&'w Endpoint> {
    match get(world, Kind::Endpoint, name)? {
        Object::Endpoint(endpoint) => Some(endpoint),
        Object::Service(_) | Object::ServiceConfig(_) => None,
    }
}
