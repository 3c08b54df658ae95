//! A service with everything that belongs to it: its configuration, and its endpoints, kept small
//! because there are many of them.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::model::{
    Endpoint, EndpointState, Label, LocalityScope, Name, ObjectName, Port, Service, ServiceConfig,
};

use super::NodeLocality;

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

/// How far an endpoint is from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// On it.
    Node,
    /// In its zone, and region.
    Zone,
    /// In its region.
    Region,
    /// Elsewhere, or nobody knows where.
    Far,
}

impl Level {
    pub(super) fn of(here: &NodeLocality, endpoint: &Endpoint) -> Self {
        let same = |one: &Option<Label>, other: &Option<Label>| one.is_some() && one == other;
        let there = &endpoint.locality;
        if same(&here.node, &endpoint.node) {
            Self::Node
        } else if same(&here.zone, &there.zone) && here.region == there.region {
            Self::Zone
        } else if same(&here.region, &there.region) {
            Self::Region
        } else {
            Self::Far
        }
    }

    /// The level, where the scope is the finest that is told apart.
    #[must_use]
    pub fn within(self, scope: LocalityScope) -> Self {
        self.max(Self::nearest(scope))
    }

    /// The level that everything within the scope has.
    #[must_use]
    pub const fn nearest(scope: LocalityScope) -> Self {
        match scope {
            LocalityScope::Node => Self::Node,
            LocalityScope::Zone => Self::Zone,
            LocalityScope::Region => Self::Region,
        }
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
    /// Whether it is to have new connections, apart from its weight.
    pub serving: bool,
}

impl Member {
    /// Whether it can take connections.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.serving && self.weight > 0
    }
}

/// A service with what belongs to it; any part may be missing.
#[derive(Debug)]
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
}

impl Group {
    pub(super) const fn new(name: ObjectName) -> Self {
        Self { name, service: None, config: None, members: Vec::new(), dependents: Vec::new() }
    }

    /// Its endpoints, by name.
    #[must_use]
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.service.is_none()
            && self.config.is_none()
            && self.members.is_empty()
            && self.dependents.is_empty()
    }

    /// Returns whether anything that matters has changed.
    pub(super) fn put(&mut self, endpoint: Endpoint, level: Level) -> bool {
        let member = Member {
            version: self.shared(endpoint.version),
            workload: endpoint.workload,
            ports: endpoint.ports.into_iter().collect(),
            address: endpoint.address,
            weight: endpoint.weight,
            level,
            serving: endpoint.state == EndpointState::Serving,
            name: endpoint.name.name,
        };
        match self.members.binary_search_by(|other| other.name.cmp(&member.name)) {
            Ok(at) => match self.members.get_mut(at) {
                Some(before) if **before != member => {
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

    pub(super) fn remove(&mut self, name: &Name) -> bool {
        let found = self.members.binary_search_by(|other| other.name.cmp(name));
        found.map(|at| self.members.remove(at)).is_ok()
    }
}
