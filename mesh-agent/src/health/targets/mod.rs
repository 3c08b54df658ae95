//! Which endpoints this node checks: its own, of services with a health check. Pure. Kept up by
//! what changes, because there may be 100,000 endpoints and one of them changes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::model::{HealthCheck, Name, ObjectName, Port, Protocol, Service};
use mesh_health::checker::Target;

use crate::world::{Group, GroupId, Member, World};

/// What is to be told to the checker; `None`: not checked any more.
pub type Changes = Vec<(ObjectName, Option<Target>)>;

/// All endpoints that this node checks.
#[derive(Debug, Default)]
pub struct Targets {
    groups: HashMap<GroupId, BTreeSet<ObjectName>>,
    all: HashMap<ObjectName, Target>,
    at: HashMap<SocketAddr, BTreeSet<ObjectName>>,
    /// Those at an address that leads elsewhere, as applications see it.
    direct: BTreeSet<ObjectName>,
}

impl Targets {
    /// Takes up changed groups. `is_frontend` says whether a connection to an address is
    /// redirected: sockets of checks to such an address have to be kept out of the mesh.
    pub fn update(
        &mut self,
        world: &World,
        changed: &[GroupId],
        is_frontend: impl Fn(SocketAddr) -> bool,
    ) -> Changes {
        let mut gone = BTreeSet::new();
        let mut new = Vec::new();
        let mut touched = self.direct.clone();
        for id in changed {
            gone.extend(self.groups.remove(id).unwrap_or_default());
            let Some(group) = world.group(*id) else { continue };
            let targets: Vec<_> = of(group).collect();
            if !targets.is_empty() {
                self.groups.insert(*id, targets.iter().map(|(name, _)| name.clone()).collect());
            }
            new.extend(targets);
            let frontends = group.service.iter().flat_map(|service| frontends(service));
            touched.extend(frontends.filter_map(|at| self.at.get(&at)).flatten().cloned());
        }
        let mut news = Changes::new();
        for (name, mut target) in new {
            gone.remove(&name);
            // Whether it leads elsewhere is looked at below.
            let known = self.all.get(&name);
            target.prepared = known.is_some_and(|known| known.prepared);
            if known != Some(&target) {
                touched.insert(name.clone());
                news.push((name.clone(), None));
                self.put(name, target);
            }
        }
        for name in gone {
            self.remove(&name);
            touched.remove(&name);
            news.push((name, None));
        }
        for name in touched {
            let Some(target) = self.all.get_mut(&name) else { continue };
            let direct = is_frontend(target.address);
            if target.prepared != direct {
                target.prepared = direct;
                news.push((name.clone(), None));
            }
            if direct {
                self.direct.insert(name);
            } else {
                self.direct.remove(&name);
            }
        }
        for (name, target) in &mut news {
            *target = self.all.get(name).cloned();
        }
        news
    }

    /// Whether sockets have to be kept out of the mesh.
    #[must_use]
    pub fn has_direct(&self) -> bool {
        !self.direct.is_empty()
    }

    fn put(&mut self, name: ObjectName, target: Target) {
        self.remove(&name);
        self.at.entry(target.address).or_default().insert(name.clone());
        self.all.insert(name, target);
    }

    fn remove(&mut self, name: &ObjectName) {
        self.direct.remove(name);
        let Some(old) = self.all.remove(name) else { return };
        if let Some(others) = self.at.get_mut(&old.address) {
            others.remove(name);
            if others.is_empty() {
                self.at.remove(&old.address);
            }
        }
    }
}

/// The endpoints of a group that this node checks.
fn of(group: &Group) -> impl Iterator<Item = (ObjectName, Target)> {
    let check = group.config.as_ref().and_then(|config| config.health_check.as_deref());
    let check = check.map(|check| Arc::new(check.clone()));
    check.into_iter().flat_map(move |check| {
        let own = group.members().iter().filter(|member| member.is_here());
        own.filter_map(move |member| {
            let port = port(&check, group.service.as_deref(), member)?;
            let address = SocketAddr::new(member.address, port);
            let target = Target { address, check: Arc::clone(&check), prepared: false };
            Some((group.name.sibling(member.name.clone()), target))
        })
    })
}

/// The port to check.
fn port(check: &HealthCheck, service: Option<&Service>, member: &Member) -> Option<u16> {
    let own = |name: &Name| member.ports.iter().find(|(of, _)| of == name).map(|(_, port)| *port);
    mesh_health::place::port(check, service, own).map(Port::get)
}

/// What applications connect to.
fn frontends(service: &Service) -> impl Iterator<Item = SocketAddr> {
    let tcp = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    tcp.flat_map(|port| service.vips.iter().map(|vip| SocketAddr::new(*vip, port.port.get())))
}
