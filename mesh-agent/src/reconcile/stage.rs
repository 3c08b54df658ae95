//! One unit's way into the maps: finds or takes its indices, and says what to write. It is staged
//! whole, or not at all.

use std::cmp::Ordering;
use std::sync::Arc;

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::frontend::FrontendKey;
use mesh_common::service::{Algorithm, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

use super::flags;
use super::room::LimitError;
use super::state::{State, Trouble, target};
use super::update::Update;
use crate::compile::{Origin, Plan, Share, UnitKey, table};
use crate::diff::MapOp;
use crate::image::{Address, MapImage};
use crate::world::Member;

/// Why a unit cannot be programmed.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("{address} is already taken by another service")]
    Taken { address: String },
}

/// Where the slots lie.
struct Placed {
    base: u32,
    slots: Vec<Slot>,
    /// In the place of the old table: only those that differ are written.
    in_place: bool,
    /// As before.
    unchanged: bool,
}

impl State {
    /// Stages a unit, or notes why it does not go.
    pub(super) fn stage(&mut self, unit: UnitKey, update: &mut Update) {
        let Some(origin) = Origin::find(&self.world, unit) else { return };
        let name = origin.service().clone();
        let ejected = self.ejected_for(unit, update);
        let programmed = self.is_programmed(unit);
        let (via, warning) = self.courses.follow(unit, origin.proxy(), programmed);
        let plan = origin.through(via).plan(&ejected, self.kernel);
        let mut warnings = plan.warnings.clone();
        warnings.extend(warning.map(|warning| format!("{origin}: {warning}")));
        let mut trouble = Trouble { warnings, ..Trouble::default() };
        self.refused.remove(&unit);
        if let Err(error) = self.try_stage(unit, &plan, update) {
            if matches!(error, StageError::Limit(_)) {
                self.refused.insert(unit);
            }
            trouble.rejection = Some(format!("port {}: {error}", unit.port));
        }
        let key = (name, unit);
        if trouble.rejection.is_some() || !trouble.warnings.is_empty() {
            self.troubles.insert(key, trouble);
        } else {
            self.troubles.remove(&key);
        }
    }

    fn try_stage(
        &mut self,
        unit: UnitKey,
        plan: &Plan,
        update: &mut Update,
    ) -> Result<(), StageError> {
        let keys = self.units.get(&unit).map(|unit| unit.keys.clone()).unwrap_or_default();
        for key in &keys {
            if self.winner(key) != Some(unit) {
                let address = Address(&key.addr, key.port).to_string();
                return Err(StageError::Taken { address });
            }
        }
        let new = keys.iter().filter(|key| !self.actual.frontends.contains_key(key)).count();
        let limit = self.room.limits.frontends;
        if new > 0 && update.frontends + new > usize::try_from(limit).unwrap_or(usize::MAX) {
            let what = "frontends";
            return Err(LimitError { what, limit, flag: "--max-services" }.into());
        }
        let (index, taken) = match self.kept_index(unit, &keys, update) {
            Some(index) => (index, false),
            None => (ServiceIndex { index: self.room.services.take()? }, true),
        };
        let backends = match self.backends(index, plan) {
            Ok(backends) => backends,
            Err(error) => {
                self.give_back(index, taken, &[]);
                return Err(error.into());
            }
        };
        let placed = match self.place(index, plan, &backends) {
            Ok(placed) => placed,
            Err(error) => {
                self.give_back(index, taken, &backends);
                return Err(error.into());
            }
        };
        // Nothing fails from here on.
        update.frontends += new;
        self.write_backends(unit, index, plan, &backends, update);
        self.own(unit, index, update);
        self.write_policy(index, &plan.policy, update);
        self.write_table(index, plan, placed, update);
        self.write_frontends(index, &keys, update);
        Ok(())
    }

    /// The index that the unit has, or that its frontends lead to; but no frontend of the index may
    /// be about to become another unit's: its readers would meet this unit's next state, which is
    /// neither their old nor their new one.
    pub(super) fn kept_index(
        &self,
        unit: UnitKey,
        keys: &[FrontendKey],
        update: &Update,
    ) -> Option<ServiceIndex> {
        let own = self.units.get(&unit).and_then(|unit| unit.index);
        let leading = || keys.iter().filter_map(|key| self.actual.frontends.get(key)).copied();
        let is_free = |index: &ServiceIndex| self.unowned.contains(index);
        let mut found = own.into_iter().chain(leading().filter(is_free));
        found.find(|index| {
            !update.moved_from.contains(index)
                && self.held.get(index).is_some_and(|holding| {
                    let is_ours =
                        |key: &FrontendKey| keys.contains(key) || !self.claims.contains_key(key);
                    holding.keys.iter().all(is_ours)
                })
        })
    }

    fn give_back(&mut self, index: ServiceIndex, taken: bool, backends: &[BackendIndex]) {
        if taken {
            self.room.services.give_back(index.index);
        }
        for backend in backends {
            if !self.actual.backends.contains_key(backend) {
                self.room.backends.give_back(backend.index);
            }
        }
    }

    /// Indices of the shares' backends, in their order: those that the maps hold, else new ones.
    fn backends(
        &mut self,
        index: ServiceIndex,
        plan: &Plan,
    ) -> Result<Vec<BackendIndex>, LimitError> {
        let held = self.held.get(&index).map_or(&[][..], |holding| &holding.backends);
        let mut held = held.iter().copied().peekable();
        let mut backends = Vec::with_capacity(plan.shares.len());
        let mut missing = Ok(());
        for share in &plan.shares {
            let wanted = (share.addr, share.port);
            while held.next_if(|index| target(&self.actual, *index) < wanted).is_some() {}
            let known = held.next_if(|index| target(&self.actual, *index) == wanted);
            match known.map_or_else(|| self.room.backends.take(), |known| Ok(known.index)) {
                Ok(index) => backends.push(BackendIndex { index }),
                Err(error) => {
                    missing = Err(error);
                    break;
                }
            }
        }
        if let Err(error) = missing {
            self.give_back(index, false, &backends);
            return Err(error);
        }
        Ok(backends)
    }

    /// Finds a place for the table: where it is if it did not change or may change in place, else
    /// in free slots, so that readers of the old table are not disturbed.
    fn place(
        &mut self,
        service: ServiceIndex,
        plan: &Plan,
        backends: &[BackendIndex],
    ) -> Result<Placed, LimitError> {
        let backend = |at: usize| backends.get(at).copied().unwrap_or_default();
        let slots: Vec<Slot> = table(plan.head.algorithm, &plan.shares)
            .into_iter()
            .map(|cell| Slot {
                service,
                backend: backend(cell.primary),
                alias: backend(cell.alias),
                threshold: cell.threshold,
            })
            .collect();
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        if let Some(head) = self.actual.services.get(&service)
            && head.slot_count == count
        {
            let unchanged = self.actual.table(head) == slots;
            let in_place =
                head.algorithm == Algorithm::MAGLEV && plan.head.algorithm == Algorithm::MAGLEV;
            if unchanged || in_place {
                return Ok(Placed { base: head.slot_base, slots, in_place, unchanged });
            }
        }
        let base = self.room.slots.take(count)?;
        Ok(Placed { base, slots, in_place: false, unchanged: false })
    }

    /// Makes the index the unit's.
    fn own(&mut self, unit: UnitKey, index: ServiceIndex, update: &mut Update) {
        let before = self.units.get_mut(&unit).and_then(|unit| unit.index.replace(index));
        if let Some(before) = before.filter(|before| *before != index) {
            self.disown(before);
        }
        let group = self.world.group(unit.group);
        let name = group.map(|group| group.name.clone());
        let config = group.and_then(|group| group.config.as_ref());
        let drain_timeout = config.and_then(|config| config.drain_timeout);
        let holding = self.held.entry(index).or_default();
        if holding.name != name {
            let guarded = self.actual.policies.contains_key(&index);
            if guarded && holding.name.is_some() {
                update.writes.forget.push(MapOp::ForgetService(index));
            }
            update.services.push((index, std::mem::replace(&mut holding.name, name)));
        }
        holding.owner = Some(unit);
        holding.protocol = unit.protocol.number();
        holding.drain_timeout = drain_timeout;
        self.guarded.touch(index);
        self.unowned.remove(&index);
    }

    fn write_backends(
        &mut self,
        unit: UnitKey,
        index: ServiceIndex,
        plan: &Plan,
        backends: &[BackendIndex],
        update: &mut Update,
    ) {
        let name = self.world.group(unit.group).map(|group| &group.name);
        let renamed = self.held.get(&index).is_some_and(|held| held.name.as_ref() != name);
        let mut all = Vec::with_capacity(backends.len());
        for (share, at) in plan.shares.iter().zip(backends) {
            let flags = flags::serving(&share.member);
            match self.actual.backends.get(at) {
                None => {
                    let backend = Backend {
                        addr: share.addr,
                        port: share.port,
                        flags,
                        service: index,
                        generation: update.stamp,
                    };
                    update.writes.backends.push((*at, backend));
                }
                Some(before) if before.flags == flags => {}
                Some(_) => update.writes.more.push((*at, flags)),
            }
            update.writes.forget.extend(self.forget_other(*at, &share.member));
            self.leaving.remove(at);
            self.gone.remove(at);
            if renamed || !self.is_member(*at, &share.member) {
                let before = self.account(*at);
                update.members.push((*at, Arc::clone(&share.member), before));
            }
            all.push(((share.addr, share.port), *at));
        }
        let held = self.held.get(&index).map(|holding| holding.backends.clone());
        let held = held.unwrap_or_default();
        let rest: Vec<BackendIndex> = without(&self.actual, held, &plan.shares);
        if !rest.is_empty() {
            let targets = Origin::find(&self.world, unit).map(|o| o.targets()).unwrap_or_default();
            for at in &rest {
                let wanted = target(&self.actual, *at);
                let found = targets.binary_search_by_key(&wanted, |(addr, port, _)| (*addr, *port));
                let member = found.ok().and_then(|at| targets.get(at)).map(|(.., member)| member);
                self.retreat(*at, member, update);
            }
            all.extend(rest.into_iter().map(|at| (target(&self.actual, at), at)));
            all.sort_unstable();
        }
        let backends = all.into_iter().map(|(_, at)| at).collect();
        self.held.entry(index).or_default().backends = backends;
    }

    /// Takes new connections away from a backend that has no share: it drains while its endpoint
    /// is there.
    pub(super) fn retreat(
        &mut self,
        at: BackendIndex,
        member: Option<&Arc<Member>>,
        update: &mut Update,
    ) {
        let before = self.actual.backends.at(at).flags;
        let flags = if let Some(member) = member {
            self.leaving.remove(&at);
            self.gone.remove(&at);
            if !self.is_member(at, member) {
                update.members.push((at, Arc::clone(member), self.account(at)));
            }
            flags::draining(member)
        } else {
            self.leaving.entry(at).or_insert(None);
            if !self.gone.contains_key(&at) {
                update.removed.push(at);
            }
            if let Some(account) = self.account(at) {
                update.leaves.push((at, account));
            }
            flags::removed(before)
        };
        if flags == before {
            return;
        }
        if before.keeps_old() {
            update.writes.less.push((at, flags));
        } else {
            update.writes.more.push((at, flags));
        }
    }

    fn write_table(
        &mut self,
        index: ServiceIndex,
        plan: &Plan,
        placed: Placed,
        update: &mut Update,
    ) {
        let Placed { base, slots, in_place, unchanged } = placed;
        let before = self.actual.services.get(&index).copied();
        let mut head = ServiceHead {
            slot_base: base,
            slot_count: u32::try_from(slots.len()).unwrap_or(u32::MAX),
            generation: before.map_or(1, |before| before.generation),
            ..plan.head
        };
        if !unchanged {
            update.changed.insert(index);
            for (at, slot) in (base..).zip(slots) {
                if !in_place || self.actual.slots.at(at) != slot {
                    update.writes.slots.push((at, slot));
                }
            }
            if !in_place && let Some(before) = before.filter(|before| before.slot_count > 0) {
                self.garbage.slots.push((before.slot_base, before.slot_count));
            }
        }
        if before != Some(head) {
            update.changed.insert(index);
            if before.is_some() {
                head.generation = head.generation.wrapping_add(1);
            }
            update.writes.heads.push((index, head));
        }
    }

    fn write_frontends(&mut self, index: ServiceIndex, keys: &[FrontendKey], update: &mut Update) {
        for key in keys {
            match self.actual.frontends.get(key).copied() {
                Some(before) if before == index => continue,
                Some(before) => {
                    if let Some(holding) = self.held.get_mut(&before) {
                        holding.keys.retain(|other| other != key);
                    }
                    update.moved_from.insert(before);
                    update.writes.moved.push((*key, index));
                }
                None => update.writes.new.push((*key, index)),
            }
            if let Some(holding) = self.held.get_mut(&index) {
                holding.keys.push(*key);
            }
        }
    }
}

/// The backends that have no share; both lists are by address and port.
fn without(image: &MapImage, held: Vec<BackendIndex>, shares: &[Share]) -> Vec<BackendIndex> {
    let mut shares = shares.iter().peekable();
    held.into_iter()
        .filter(|index| {
            let place = target(image, *index);
            let order = |share: &&Share| (share.addr, share.port).cmp(&place);
            while shares.next_if(|share| order(share) == Ordering::Less).is_some() {}
            shares.next_if(|share| order(share) == Ordering::Equal).is_none()
        })
        .collect()
}
