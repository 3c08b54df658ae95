//! What one update comes to while it is put together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::ObjectName;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use super::state::{Garbage, State};
use crate::diff::{MapOp, Writes};
use crate::ledger::Account;
use crate::world::Member;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Update {
    /// Generation of new backends.
    pub(super) stamp: u32,
    /// Frontends that the map will hold.
    pub(super) frontends: usize,
    pub(super) writes: Writes,
    /// Services whose head or slots change.
    pub(super) changed: BTreeSet<ServiceIndex>,
    /// Services that a frontend moves away from.
    pub(super) moved_from: BTreeSet<ServiceIndex>,
    /// Endpoints of backends, where they are others than before, and who was counted so far.
    pub(super) members: Vec<(BackendIndex, Arc<Member>, Option<Account>)>,
    /// Backends that are not used any more, and who is counted until they are freed.
    pub(super) leaves: Vec<(BackendIndex, Account)>,
    /// Services that have another name than before.
    pub(super) services: Vec<(ServiceIndex, Option<ObjectName>)>,
    /// Services that are not used any more.
    pub(super) service_leaves: Vec<(ServiceIndex, ObjectName)>,
    /// Backends whose endpoint has gone.
    pub(super) removed: Vec<BackendIndex>,
}

/// A backend whose endpoint has gone; it stays until its last connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its index.
    pub index: BackendIndex,
    /// Its entry.
    pub backend: Backend,
    /// IANA number of the protocol.
    pub protocol: u8,
    /// How long TCP connections may go on; `None` is for ever.
    pub drain_timeout: Option<Duration>,
}

impl State {
    /// Puts everything together that the changes of the world come to.
    pub(super) fn update(&mut self, stamp: u32) -> Update {
        let mut update = Update { stamp, ..Update::default() };
        let mut dirty = self.demand();
        let mut looked: BTreeSet<ServiceIndex> = self.unowned.clone();
        let index = |unit| self.units.get(unit).and_then(|unit| unit.index);
        looked.extend(dirty.iter().filter_map(index));
        let gone = self.unwanted(looked);
        if (std::mem::take(&mut self.room.freed) || !gone.is_empty()) && !self.refused.is_empty() {
            let known: BTreeSet<_> = dirty.iter().copied().collect();
            dirty.extend(self.refused.iter().filter(|unit| !known.contains(unit)));
        }
        update.frontends = self.actual.frontends.len().saturating_sub(gone.len());
        let mut leading = Vec::with_capacity(gone.len());
        for key in &gone {
            if let Some(index) = self.actual.frontends.get(key)
                && let Some(holding) = self.held.get_mut(index)
            {
                holding.keys.retain(|other| other != key);
                leading.push(*index);
            }
        }
        for unit in dirty {
            // Also where it does not go: its configuration may be another.
            if let Some(index) = self.units.get(&unit).and_then(|unit| unit.index) {
                self.guarded.touch(index);
            }
            self.stage(unit, &mut update);
        }
        self.sweep(&mut update);
        self.garbage.frontends |= !gone.is_empty();
        update.writes.gone_goes_on = leading.iter().any(|index| update.changed.contains(index));
        update.writes.gone = gone;
        update.writes.acceleration = self.switched(&update.writes.heads);
        update
    }

    /// Gives up services that nobody owns and no frontend leads to.
    fn sweep(&mut self, update: &mut Update) {
        let is_left = |index: &ServiceIndex| {
            self.held.get(index).is_none_or(|holding| holding.keys.is_empty())
        };
        let left: Vec<ServiceIndex> = self.unowned.iter().copied().filter(is_left).collect();
        for index in left {
            self.unowned.remove(&index);
            let Some(holding) = self.held.get(&index) else { continue };
            update.service_leaves.extend(holding.name.clone().map(|name| (index, name)));
            for backend in holding.backends.clone() {
                let (is_there, removed) = (self.is_there(index, backend), update.removed.len());
                self.retreat(backend, None, update);
                if is_there {
                    update.removed.truncate(removed);
                }
            }
            if let Some(head) = self.actual.services.get(&index) {
                self.garbage.policies.remove(&index);
                self.garbage.forget.remove(&index);
                self.garbage.services.insert(index);
                if head.slot_count > 0 {
                    self.garbage.slots.push((head.slot_base, head.slot_count));
                }
            }
        }
    }

    /// Whether the endpoint of a service that is given up is still there; its connections go on.
    fn is_there(&self, service: ServiceIndex, backend: BackendIndex) -> bool {
        let name = self.held.get(&service).and_then(|holding| holding.name.as_ref());
        let group = name.and_then(|name| self.world.find(name)).and_then(|id| self.world.group(id));
        let (Some(group), Some(member)) = (group, self.member(backend)) else { return false };
        // The endpoints of another service are not looked for.
        let sends_away = group.config.as_ref().is_some_and(|config| {
            config.traffic_rules.iter().any(|rule| rule.destination.service != group.name)
        });
        sends_away || group.members().iter().any(|other| other.name == member.name)
    }

    /// Notes which endpoints have gone, once their backends are marked.
    pub(super) fn note_gone(&mut self, backends: &[BackendIndex]) {
        for index in backends {
            let backend = self.actual.backends.at(*index);
            let Some(holding) = self.held.get(&backend.service) else { continue };
            if backend.flags.contains(BackendFlags::PROXY) {
                // An Envoy that runs serves on; connections to one that does not end by themselves.
                self.gone.insert(*index, None);
                continue;
            }
            let group = holding.name.as_ref().and_then(|name| self.world.find(name));
            let group = group.and_then(|id| self.world.group(id));
            // A service that goes with its endpoints still means what it said.
            let said = group.filter(|group| group.service.is_some());
            let drain_timeout = said.map_or(holding.drain_timeout, |group| {
                group.config.as_ref().and_then(|config| config.drain_timeout)
            });
            self.gone.insert(*index, drain_timeout);
        }
    }

    /// Backends in the maps whose endpoint has gone.
    pub(super) fn removed(&self) -> impl Iterator<Item = Removed> {
        self.gone.iter().filter_map(|(index, drain_timeout)| {
            let backend = self.actual.backends.get(index)?;
            Some(Removed {
                index: *index,
                backend: *backend,
                protocol: self.held.get(&backend.service)?.protocol,
                drain_timeout: *drain_timeout,
            })
        })
    }

    /// Operations that free what nobody uses, and the backends among them; none where there is
    /// nothing to free.
    pub(super) fn retirement(&self, backends: &[BackendIndex]) -> Vec<MapOp> {
        let garbage = &self.garbage;
        let mut ops = vec![MapOp::Grace];
        ops.extend(garbage.services.iter().map(|index| MapOp::ClearService(*index)));
        ops.extend(self.switched_off(&garbage.services));
        let zero = |index: &ServiceIndex| MapOp::PutPolicy(*index, Policy::default());
        ops.extend(garbage.policies.iter().map(zero));
        for (index, (service, backends)) in &garbage.forget {
            ops.extend(self.forget(*index, *service, *backends));
        }
        for (start, count) in &garbage.slots {
            let used = (*start..start.saturating_add(*count))
                .filter(|at| self.actual.slots.contains_key(at));
            ops.extend(used.map(MapOp::ClearSlot));
        }
        ops.extend(backends.iter().map(|index| MapOp::ClearBackend(*index)));
        if ops.len() == 1 && !garbage.frontends {
            ops.clear();
        } else if !backends.is_empty() || !garbage.services.is_empty() {
            // Until then, a program may still count for what has just been freed.
            ops.push(MapOp::Grace);
        }
        ops
    }

    /// Takes back the room of what has been freed; backends come with their service. Returns the
    /// services among it.
    pub(super) fn reclaim(
        &mut self,
        backends: &[(BackendIndex, ServiceIndex)],
    ) -> BTreeSet<ServiceIndex> {
        let Garbage { services, slots, .. } = std::mem::take(&mut self.garbage);
        self.room.freed |= !(services.is_empty() && slots.is_empty() && backends.is_empty());
        for (start, count) in slots {
            self.room.slots.give_back(start, count);
        }
        let mut touched = services.clone();
        for (index, service) in backends {
            self.room.backends.give_back(index.index);
            self.leaving.remove(index);
            self.gone.remove(index);
            self.ejected.remove(index);
            touched.insert(*service);
        }
        let gone: BTreeSet<BackendIndex> = backends.iter().map(|(index, _)| *index).collect();
        for index in touched {
            self.guarded.touch(index);
            let Some(holding) = self.held.get_mut(&index) else { continue };
            holding.backends.retain(|backend| !gone.contains(backend));
            // Given up before, and now the last of it has gone.
            let given_up = holding.owner.is_none() && !self.unowned.contains(&index);
            if given_up && holding.backends.is_empty() {
                self.held.remove(&index);
                self.room.services.give_back(index.index);
            }
        }
        services
    }
}
