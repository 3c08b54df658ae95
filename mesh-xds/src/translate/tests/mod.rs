//! Translations of whole manifests, kept as text beside them, and what holds for all.
//!
//! `MESH_BLESS=1 cargo test -p mesh-xds translate` writes the files anew.

mod golden;
mod properties;
mod render;

use std::collections::BTreeMap;

use mesh_api::manifest;
use mesh_api::model::{Endpoint, Health, Object, ObjectName, Port, Service, ServiceConfig};

use super::{Instance, Mesh, View};

/// Objects by name, and the health that their label `health` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) services: BTreeMap<ObjectName, Service>,
    pub(crate) configs: BTreeMap<ObjectName, ServiceConfig>,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Objects {
    /// Reads manifests, and allots ports as the control plane does.
    pub(crate) fn read(text: &str) -> Self {
        let mut objects = Self::default();
        for located in manifest::parse("test", text).unwrap() {
            match Object::try_from(located.into_object()).unwrap() {
                Object::Service(it) => drop(objects.services.insert(it.name.clone(), it)),
                Object::ServiceConfig(it) => drop(objects.configs.insert(it.name.clone(), it)),
                Object::Endpoint(it) => objects.endpoints.push(it),
            }
        }
        let mut next = 15_200_u32;
        for service in objects.services.values() {
            let Some(config) = objects.configs.get_mut(&service.name) else { continue };
            for port in service.ports.iter().filter(|port| port.requests().is_some()) {
                next += 1;
                config.proxy_ports.insert(port.name.clone(), Port::try_from(next).unwrap());
            }
        }
        objects
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.services.values().map(|service| View {
            mesh: self,
            service,
            config: self.configs.get(&service.name),
            here: None,
        })
    }
}

impl Mesh for Objects {
    fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name)
    }

    fn instances(&self, service: &ObjectName) -> Vec<Instance<'_>> {
        let of = |endpoint: &&Endpoint| endpoint.service == *service;
        let instance = |endpoint| Instance { endpoint, health: health(endpoint) };
        self.endpoints.iter().filter(of).map(instance).collect()
    }
}

fn health(endpoint: &Endpoint) -> Option<Health> {
    match endpoint.labels.get("health")?.as_str() {
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        _ => None,
    }
}
