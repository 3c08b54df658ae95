//! What the world is asked besides names: who holds a frontend, which versions a service has,
//! who refers to a service. Kept beside the objects so that a batch costs what it changes, not
//! what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::model::{Label, Object, ObjectName, ServiceConfig};
use rpds::RedBlackTreeMapSync;

use super::{Frontend, frontends};

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    holders: RedBlackTreeMapSync<Frontend, ObjectName>,
    /// Service → version → number of endpoints.
    versions: RedBlackTreeMapSync<ObjectName, Arc<BTreeMap<Option<Label>, usize>>>,
    /// Service → configs that name it.
    referrers: RedBlackTreeMapSync<ObjectName, Arc<BTreeSet<ObjectName>>>,
}

impl Index {
    pub(super) fn holder(&self, frontend: Frontend) -> Option<&ObjectName> {
        self.holders.get(&frontend)
    }

    pub(super) fn versions(&self, service: &ObjectName) -> impl Iterator<Item = Option<&Label>> {
        let of = self.versions.get(service).into_iter();
        of.flat_map(|versions| versions.keys().map(Option::as_ref))
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
                let mut versions = self.versions.get(&endpoint.service).cloned();
                let counts = Arc::make_mut(versions.get_or_insert_default());
                *counts.entry(endpoint.version.clone()).or_default() += 1;
                if let Some(versions) = versions {
                    self.versions.insert_mut(endpoint.service.clone(), versions);
                }
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
                let Some(mut versions) = self.versions.get(&endpoint.service).cloned() else {
                    return;
                };
                let counts = Arc::make_mut(&mut versions);
                match counts.get_mut(&endpoint.version) {
                    Some(count) if *count > 1 => *count -= 1,
                    Some(_) | None => drop(counts.remove(&endpoint.version)),
                }
                if versions.is_empty() {
                    self.versions.remove_mut(&endpoint.service);
                } else {
                    self.versions.insert_mut(endpoint.service.clone(), versions);
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
    let rules = config.traffic_rules.iter();
    let destinations = rules.map(|rule| &rule.destination.service);
    destinations.chain([&config.name]).collect()
}
