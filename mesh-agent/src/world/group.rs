//! A service with everything that belongs to it: its configuration, and its endpoints, kept small
//! because there are many of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{
    Endpoint, EndpointState, Health, Label, Level, Name, ObjectName, Port, Service, ServiceConfig,
};

/// Names a group; given out again when the group is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

impl GroupId {
    pub(super) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(super) fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What the compiler needs of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; the namespace is the service's.
    pub name: Name,
    /// Which version of the service it runs.
    pub version: Option<Label>,
    /// What runs it.
    pub workload: Option<Label>,
    /// Its ports by the service's port names, where they differ from `targetPort`.
    pub ports: Box<[(Name, Port)]>,
    /// Where it listens.
    pub address: IpAddr,
    /// Share among the endpoints of its version.
    pub weight: u32,
    /// How far it is.
    pub level: Level,
    /// Whether it is to have new connections, apart from its weight and its health.
    pub serving: bool,
    /// What is said of its health; `None`: nothing yet.
    pub health: Option<Health>,
    /// Whether it stands for the node's Envoy, which the world has no endpoint for.
    pub is_proxy: bool,
}

impl Member {
    /// Whether it can take connections, if it is healthy.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.serving && self.weight > 0
    }

    /// Whether it is this node's own: checked here, and reached without leaving the node.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        matches!(self.level, Level::Node)
    }
}

/// A service with what belongs to it; any part may be missing.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name of the service.
    pub name: ObjectName,
    /// The service, without its labels.
    pub service: Option<Box<Service>>,
    /// Its configuration, without labels.
    pub config: Option<Box<ServiceConfig>>,
    /// Its endpoints, by name.
    members: Vec<Arc<Member>>,
    /// Groups whose traffic rules name this one.
    pub(super) dependents: Vec<GroupId>,
    /// Endpoints that turned healthy lately, and when; see [`super::World::set_time`].
    pub(super) turned: BTreeMap<Name, Duration>,
}

impl Group {
    pub(super) const fn new(name: ObjectName) -> Self {
        Self {
            name,
            service: None,
            config: None,
            members: Vec::new(),
            dependents: Vec::new(),
            turned: BTreeMap::new(),
        }
    }

    /// Its endpoints, by name.
    #[must_use]
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Whether an endpoint is taken for healthy. Without a health check, it is.
    #[must_use]
    pub fn is_healthy(&self, member: &Member) -> bool {
        let check = self.config.as_ref().and_then(|config| config.health_check.as_ref());
        check.is_none_or(|check| member.health.unwrap_or(check.initial) == Health::Healthy)
    }

    /// When an endpoint turned healthy, if that was lately.
    #[must_use]
    pub fn turned(&self, name: &Name) -> Option<Duration> {
        self.turned.get(name).copied()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.service.is_none()
            && self.config.is_none()
            && self.members.is_empty()
            && self.dependents.is_empty()
    }

    /// Sets what is said of an endpoint's health. Returns the endpoint as it was before, where
    /// that matters.
    pub(super) fn set_health(&mut self, name: &Name, health: Option<Health>) -> Option<Member> {
        let at = self.members.binary_search_by(|other| other.name.cmp(name)).ok()?;
        let member = self.members.get_mut(at).filter(|member| member.health != health)?;
        let before = Member::clone(member);
        *member = Arc::new(Member { health, ..before.clone() });
        Some(before)
    }

    /// Returns whether anything that matters has changed.
    pub(super) fn put(&mut self, endpoint: Endpoint, level: Level, health: Option<Health>) -> bool {
        let member = Member {
            version: self.shared(endpoint.version),
            workload: endpoint.workload,
            ports: endpoint.ports.into_iter().collect(),
            address: endpoint.address,
            weight: endpoint.weight,
            level,
            serving: endpoint.state == EndpointState::Serving,
            health,
            is_proxy: false,
            name: endpoint.name.name,
        };
        match self.members.binary_search_by(|other| other.name.cmp(&member.name)) {
            Ok(at) => match self.members.get_mut(at) {
                Some(before) if **before != member => {
                    if before.address != member.address {
                        // Another instance: it does not go on where the old one was.
                        self.turned.remove(&member.name);
                    }
                    *before = Arc::new(member);
                    true
                }
                _ => false,
            },
            Err(at) => {
                self.members.insert(at, Arc::new(member));
                true
            }
        }
    }

    /// The same label as another endpoint has, so that it is in memory once.
    fn shared(&self, label: Option<Label>) -> Option<Label> {
        let mut others = self.members.iter().rev().take(8).map(|member| &member.version);
        others.find(|other| **other == label).cloned().unwrap_or(label)
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<Arc<Member>> {
        self.turned.remove(name);
        let found = self.members.binary_search_by(|other| other.name.cmp(name));
        found.ok().map(|at| self.members.remove(at))
    }

    pub(super) fn member(&self, name: &Name) -> Option<&Arc<Member>> {
        let found = self.members.binary_search_by(|other| other.name.cmp(name));
        found.ok().and_then(|at| self.members.get(at))
    }
}
