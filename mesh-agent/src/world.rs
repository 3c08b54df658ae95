//! What the control plane said, mirrored: the validated objects by name.

use std::collections::BTreeMap;

use mesh_api::model::{Endpoint, Kind, Object, ObjectName, ObjectRef, Service, ServiceConfig};

/// All objects the node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Services.
    pub services: BTreeMap<ObjectName, Service>,
    /// Endpoints.
    pub endpoints: BTreeMap<ObjectName, Endpoint>,
    /// Configurations, by the name of their service.
    pub configs: BTreeMap<ObjectName, ServiceConfig>,
}

/// One change of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create or replace.
    Put(Object),
    /// Remove; nothing happens where it does not exist.
    Remove(ObjectRef),
}

impl World {
    /// Applies one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(Object::Service(service)) => {
                self.services.insert(service.name.clone(), service);
            }
            Change::Put(Object::Endpoint(endpoint)) => {
                self.endpoints.insert(endpoint.name.clone(), endpoint);
            }
            Change::Put(Object::ServiceConfig(config)) => {
                self.configs.insert(config.name.clone(), config);
            }
            Change::Remove(ObjectRef { kind, name }) => match kind {
                Kind::Service => drop(self.services.remove(&name)),
                Kind::Endpoint => drop(self.endpoints.remove(&name)),
                Kind::ServiceConfig => drop(self.configs.remove(&name)),
            },
        }
    }
}
