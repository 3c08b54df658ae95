//! What the control plane said, mirrored: the validated objects, grouped by service, so that a
//! change leads straight to what it touches.

mod group;
mod health;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use mesh_api::model::{
    Endpoint, Health, Kind, Object, ObjectName, ObjectRef, Service, ServiceConfig,
};

pub use mesh_api::model::{Level, NodeLocality};

pub use self::group::{Group, GroupId, Member};
pub use self::health::STEPS;

/// One change of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create or replace.
    Put(Object),
    /// Remove; nothing happens where it does not exist.
    Remove(ObjectRef),
    /// What is said of the health of the endpoint of this name; `None`: nothing any more. It may
    /// come before the endpoint, and outlives it: only another of these changes it.
    Health(ObjectName, Option<Health>),
}

/// All objects the node knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    here: NodeLocality,
    /// By [`GroupId`]; `None` where the id is free.
    groups: Vec<Option<Group>>,
    free: Vec<GroupId>,
    ids: HashMap<ObjectName, GroupId>,
    /// The group of each endpoint.
    owners: HashMap<ObjectName, GroupId>,
    /// What has to be compiled again.
    changed: BTreeSet<GroupId>,
    /// What is said of the health of endpoints that are not there.
    absent: HashMap<ObjectName, Health>,
    /// The present moment, since any fixed one; `None` before there is one.
    now: Option<Duration>,
    /// Groups with endpoints that turned healthy lately.
    turning: BTreeSet<GroupId>,
    /// When the first of their steps ends, or earlier.
    due: Option<Duration>,
    /// What has changed since the health checks asked last.
    to_check: BTreeSet<GroupId>,
    /// What has changed since it was asked last who is counted at the endpoints.
    to_count: BTreeSet<GroupId>,
}

impl World {
    /// An empty world, seen from a node.
    #[must_use]
    pub fn new(here: NodeLocality) -> Self {
        Self { here, ..Self::default() }
    }

    /// Applies one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(Object::Service(service)) => {
                let id = self.group_for(&service.name.clone());
                self.set_service(id, Some(service));
            }
            Change::Put(Object::Endpoint(endpoint)) => self.put_endpoint(endpoint),
            Change::Put(Object::ServiceConfig(config)) => {
                let id = self.group_for(&config.name);
                self.set_config(id, Some(config));
            }
            Change::Remove(ObjectRef { kind, name }) => match kind {
                Kind::Endpoint => {
                    if let Some(id) = self.owners.remove(&name)
                        && let Some(health) = self.remove_member(id, &name)
                    {
                        self.absent.insert(name, health);
                    }
                }
                Kind::Service => {
                    if let Some(id) = self.find(&name) {
                        self.set_service(id, None);
                    }
                }
                Kind::ServiceConfig => {
                    if let Some(id) = self.find(&name) {
                        self.set_config(id, None);
                    }
                }
            },
            Change::Health(name, health) => self.set_health(name, health),
        }
    }

    fn set_service(&mut self, id: GroupId, service: Option<Service>) {
        let Some(group) = self.group_mut(id) else { return };
        let service = service.map(|mut service| {
            service.labels.clear();
            service.name = group.name.clone();
            Box::new(service)
        });
        if group.service != service {
            group.service = service;
            self.touch(id);
        }
    }

    fn set_config(&mut self, id: GroupId, config: Option<ServiceConfig>) {
        let Some(group) = self.group_mut(id) else { return };
        let config = config.map(|mut config| {
            config.labels.clear();
            config.name = group.name.clone();
            Box::new(config)
        });
        if group.config == config {
            return;
        }
        let initial = |config: &Option<Box<ServiceConfig>>| {
            config.as_ref()?.health_check.as_ref().map(|check| check.initial)
        };
        if initial(&group.config) != initial(&config) {
            // Others take these endpoints for healthy, or not, as this configuration says.
            let dependents = group.dependents.clone();
            self.changed.extend(dependents);
        }
        let Some(group) = self.group_mut(id) else { return };
        let (old, new) = (std::mem::replace(&mut group.config, config.clone()), config);
        // The new ones first, so that a group which both name stays.
        for name in other_services(new.as_deref()) {
            let other = self.group_for(&name);
            if let Some(group) = self.group_mut(other)
                && !group.dependents.contains(&id)
            {
                group.dependents.push(id);
            }
        }
        for name in other_services(old.as_deref()) {
            if !other_services(new.as_deref()).any(|other| other == name)
                && let Some(other) = self.find(&name)
                && let Some(group) = self.group_mut(other)
            {
                group.dependents.retain(|dependent| *dependent != id);
                self.changed.insert(other);
            }
        }
        self.changed.insert(id);
        self.hurry();
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) {
        let id = self.group_for(&endpoint.service);
        let health = match self.owners.insert(endpoint.name.clone(), id) {
            Some(before) if before != id => self.remove_member(before, &endpoint.name),
            Some(_) => self.group(id).and_then(|group| group.member(&endpoint.name.name)?.health),
            None => self.absent.remove(&endpoint.name),
        };
        let level = Level::of(&self.here, &endpoint);
        if let Some(group) = self.group_mut(id)
            && group.put(endpoint, level, health)
        {
            self.calm(id);
            self.touch(id);
        }
    }

    /// Returns what is said of its health.
    fn remove_member(&mut self, id: GroupId, name: &ObjectName) -> Option<Health> {
        let removed = self.group_mut(id)?.remove(&name.name)?;
        self.calm(id);
        self.touch(id);
        removed.health
    }

    /// Marks a group, and those whose traffic rules name it.
    fn touch(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get(id.place()).and_then(Option::as_ref) {
            self.changed.extend(&group.dependents);
        }
        self.changed.insert(id);
    }

    /// Whether anything has to be compiled again.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has changed since the last time this was asked. Empty groups go.
    pub fn take_changed(&mut self) -> Vec<GroupId> {
        let changed: Vec<GroupId> = std::mem::take(&mut self.changed).into_iter().collect();
        self.to_check.extend(&changed);
        self.to_count.extend(&changed);
        for id in &changed {
            let Some(group) = self.groups.get_mut(id.place()) else { continue };
            if let Some(name) = group.take_if(|group| group.is_empty()).map(|group| group.name) {
                self.ids.remove(&name);
                self.turning.remove(id);
                self.free.push(*id);
            }
        }
        changed
    }

    /// The same for the health checks, which follow when the maps have been written.
    pub fn take_to_check(&mut self) -> Vec<GroupId> {
        std::mem::take(&mut self.to_check).into_iter().collect()
    }

    /// The same for who is counted at the endpoints.
    pub fn take_to_count(&mut self) -> Vec<GroupId> {
        std::mem::take(&mut self.to_count).into_iter().collect()
    }

    /// Every group.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let numbered = (0..).map(GroupId::new).zip(&self.groups);
        numbered.filter_map(|(id, group)| group.as_ref().map(|group| (id, group)))
    }

    /// A group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.place())?.as_ref()
    }

    /// The group of a service.
    #[must_use]
    pub fn find(&self, service: &ObjectName) -> Option<GroupId> {
        self.ids.get(service).copied()
    }

    fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(id.place())?.as_mut()
    }

    fn group_for(&mut self, service: &ObjectName) -> GroupId {
        if let Some(id) = self.ids.get(service) {
            return *id;
        }
        let group = Some(Group::new(service.clone()));
        let id = match self.free.pop() {
            Some(id) => id,
            None => GroupId::new(u32::try_from(self.groups.len()).unwrap_or(u32::MAX)),
        };
        match self.groups.get_mut(id.place()) {
            Some(place) => *place = group,
            None => self.groups.push(group),
        }
        self.ids.insert(service.clone(), id);
        id
    }
}

/// Services other than its own that a configuration sends connections to.
fn other_services(config: Option<&ServiceConfig>) -> impl Iterator<Item = ObjectName> {
    config.into_iter().flat_map(|config| {
        let services = config.traffic_rules.iter().map(|rule| &rule.destination.service);
        services.filter(|service| **service != config.name).cloned()
    })
}
