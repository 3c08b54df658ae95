//! Which addresses are this node's endpoints, and whose addresses are known, kept in step with the
//! world group by group. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_api::clients;
use mesh_api::model::{Label, Protocol};
use mesh_common::addr::IpKey;
use mesh_common::frontend::FrontendKey;

use crate::ledger::Account;
use crate::world::{Group, GroupId};

/// What a service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Where its endpoints of this node listen, and who is counted there.
    locals: Vec<(FrontendKey, Account)>,
    /// Addresses of its endpoints, and what runs them.
    peers: Vec<(IpKey, Label)>,
}

impl Part {
    pub(super) fn of(group: &Group) -> Self {
        let mut part = Self::default();
        for member in group.members() {
            let address = IpKey::from_ip(member.address);
            let name = member.workload.as_ref().map(|workload| clients::name_of(workload.as_str()));
            let name: Option<Label> = name.and_then(|name| name.parse().ok());
            part.peers.extend(name.map(|name| (address, name)));
            let Some(service) = group.service.as_ref().filter(|_| member.is_here()) else {
                continue;
            };
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
                let own = member.ports.iter().find(|(name, _)| *name == port.name);
                let number = own.map_or(port.target_port, |(_, own)| *own).get();
                let account = Account {
                    version: member.version.clone(),
                    workload: member.workload.clone(),
                    ..Account::of_service(group.name.clone())
                };
                let protocol = Protocol::Tcp.number();
                part.locals.push((FrontendKey::new(address, number, protocol), account));
            }
        }
        part
    }
}

/// Addresses that have to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) locals: BTreeSet<FrontendKey>,
    pub(super) peers: BTreeSet<IpKey>,
}

impl Changed {
    pub(super) fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.peers.is_empty()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    parts: HashMap<GroupId, Part>,
    locals: BTreeMap<FrontendKey, Vec<Account>>,
    peers: HashMap<IpKey, Vec<Label>>,
}

impl Index {
    /// Gives a group another part.
    pub(super) fn put(&mut self, id: GroupId, part: Part, changed: &mut Changed) {
        let before = self.parts.remove(&id).unwrap_or_default();
        if before == part {
            if part != Part::default() {
                self.parts.insert(id, part);
            }
            return;
        }
        changed.locals.extend(before.locals.iter().chain(&part.locals).map(|(key, _)| *key));
        changed.peers.extend(before.peers.iter().chain(&part.peers).map(|(address, _)| *address));
        for (key, account) in &before.locals {
            if let Some(accounts) = self.locals.get_mut(key) {
                take(accounts, account);
                if accounts.is_empty() {
                    self.locals.remove(key);
                }
            }
        }
        for (address, name) in &before.peers {
            if let Some(names) = self.peers.get_mut(address) {
                take(names, name);
                if names.is_empty() {
                    self.peers.remove(address);
                }
            }
        }
        for (key, account) in &part.locals {
            self.locals.entry(*key).or_default().push(account.clone());
        }
        for (address, name) in &part.peers {
            self.peers.entry(*address).or_default().push(name.clone());
        }
        if part != Part::default() {
            self.parts.insert(id, part);
        }
    }

    /// Who is counted at an address. What the client asked for is not known there: of several services
    /// with an endpoint at the same address and port, it is the first by name.
    pub(super) fn local(&self, key: &FrontendKey) -> Option<&Account> {
        self.locals.get(key)?.iter().min()
    }

    /// Whose address it is; nobody's, where several share it.
    pub(super) fn peer(&self, address: &IpKey) -> Option<&Label> {
        let (first, others) = self.peers.get(address)?.split_first()?;
        others.iter().all(|other| other == first).then_some(first)
    }
}

/// Takes one of those that are equal away.
fn take<T: PartialEq>(from: &mut Vec<T>, what: &T) {
    if let Some(at) = from.iter().position(|it| it == what) {
        from.swap_remove(at);
    }
}
