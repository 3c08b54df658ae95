//! What the world is asked besides names: who holds a frontend, what a service's endpoints have,
//! who refers to a service. Kept beside the objects so that a batch costs what it changes, not
//! what is stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::model::{Object, ObjectName, ServiceConfig};
use rpds::RedBlackTreeMapSync;

use super::{Endpoints, Frontend, frontends};

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    holders: RedBlackTreeMapSync<Frontend, ObjectName>,
    /// Service → what its endpoints have; absent where it has none.
    endpoints: RedBlackTreeMapSync<ObjectName, Arc<Endpoints>>,
    /// Service → configs that name it.
    referrers: RedBlackTreeMapSync<ObjectName, Arc<BTreeSet<ObjectName>>>,
}

impl Index {
    pub(super) fn holder(&self, frontend: Frontend) -> Option<&ObjectName> {
        self.holders.get(&frontend)
    }

    pub(super) fn endpoints(&self, service: &ObjectName) -> Option<&Endpoints> {
        self.endpoints.get(service).map(|endpoints| &**endpoints)
    }

    pub(super) fn referrers(&self, service: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let of = self.referrers.get(service).into_iter();
        of.flat_map(|referrers| referrers.iter())
    }

    pub(super) fn add(&mut self, object: &Object) {
        match object {
            Object::Service(service) => {
                for (frontend, ..) in frontends(service) {
                    self.holders.insert_mut(frontend, service.name.clone());
                }
            }
            Object::Endpoint(endpoint) => {
                let of = self.endpoints.get(&endpoint.service);
                let mut endpoints = of.cloned().unwrap_or_default();
                Arc::make_mut(&mut endpoints).add(endpoint);
                self.endpoints.insert_mut(endpoint.service.clone(), endpoints);
            }
            Object::ServiceConfig(config) => {
                for service in named_services(config) {
                    let mut referrers = self.referrers.get(service).cloned().unwrap_or_default();
                    Arc::make_mut(&mut referrers).insert(config.name.clone());
                    self.referrers.insert_mut(service.clone(), referrers);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, object: &Object) {
        match object {
            Object::Service(service) => {
                for (frontend, ..) in frontends(service) {
                    // Another service may have taken it over in the same batch.
                    if self.holders.get(&frontend) == Some(&service.name) {
                        self.holders.remove_mut(&frontend);
                    }
                }
            }
            Object::Endpoint(endpoint) => {
                let Some(mut endpoints) = self.endpoints.get(&endpoint.service).cloned() else {
                    return;
                };
                Arc::make_mut(&mut endpoints).remove(endpoint);
                if endpoints.is_empty() {
                    self.endpoints.remove_mut(&endpoint.service);
                } else {
                    self.endpoints.insert_mut(endpoint.service.clone(), endpoints);
                }
            }
            Object::ServiceConfig(config) => {
                for service in named_services(config) {
                    let Some(mut referrers) = self.referrers.get(service).cloned() else {
                        continue;
                    };
                    Arc::make_mut(&mut referrers).remove(&config.name);
                    if referrers.is_empty() {
                        self.referrers.remove_mut(service);
                    } else {
                        self.referrers.insert_mut(service.clone(), referrers);
                    }
                }
            }
        }
    }
}

/// The service that a config configures, and those that its rules send connections to.
fn named_services(config: &ServiceConfig) -> BTreeSet<&ObjectName> {
    config.destinations().map(|it| &it.service).chain([&config.name]).collect()
}
