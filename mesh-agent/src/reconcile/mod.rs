//! Keeps the maps equal to the world: the only writer of the policy maps.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::service::ServiceIndex;

use crate::compile::{Input, Names, Output, Rejection, compile};
use crate::diff::{MapOp, diff};
use crate::image::MapImage;
use crate::ledger::{Account, Journal, Totals};
use crate::maps::{Held, MapError, MapStore};
use crate::world::{Change, World};

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Services that could not be programmed.
    pub rejections: Vec<Rejection>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Writes done.
    pub writes: usize,
}

/// How long a connect can be under way: six SYN retransmissions, from 1 s, doubling
/// (`tcp_syn_retries`), and some.
const CONNECTING: Duration = Duration::from_secs(130);

/// World, maps, and what lies between them.
#[derive(Debug)]
pub struct Reconciler<M> {
    maps: M,
    world: World,
    /// What the world compiles to.
    desired: MapImage,
    /// What the maps hold: `desired`, and what has not been freed yet.
    actual: MapImage,
    names: Names,
    /// Whose the counters are.
    journal: Journal,
    /// Entries of the agent's own, beside the world's.
    canary: MapImage,
    /// Backends that are kept only for connections that may be under way, and since when.
    leaving: BTreeMap<BackendIndex, Duration>,
    report: Report,
    /// A frontend was deleted since the last grace period: its element must not be reused yet.
    frontend_freed: bool,
    /// Highest generation given out.
    stamp: u32,
    /// An operation failed; `actual` is read again before the next.
    unsure: bool,
}

impl<M: MapStore> Reconciler<M> {
    /// Takes over maps as they are, with whatever an earlier agent left in them.
    pub fn open(maps: M, mut journal: Journal) -> Result<Self, MapError> {
        let actual = maps.read()?;
        settle_freed(&maps, &actual, &mut journal)?;
        journal.commit().unwrap_or_else(|error| tracing::error!("{error}"));
        let stamp = actual.backends.values().map(|backend| backend.generation).max().unwrap_or(0);
        Ok(Self {
            maps,
            world: World::default(),
            desired: actual.clone(),
            actual,
            names: Names::default(),
            journal,
            canary: MapImage::default(),
            leaving: BTreeMap::new(),
            report: Report::default(),
            frontend_freed: true,
            stamp,
            unsure: false,
        })
    }

    /// Changes the world without touching the maps.
    pub fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.world.apply(change);
        }
    }

    /// Brings the maps to the world. When it returns `Ok`, the world is live, but for what the
    /// report rejects; what is no longer used is freed by [`Self::retire`] later.
    ///
    /// `stamp` is the lowest generation to give out; a clock keeps it above what earlier agents
    /// gave out.
    pub fn install(&mut self, stamp: u32) -> Result<&Report, MapError> {
        if self.unsure {
            self.actual = self.maps.read()?;
            self.unsure = false;
            self.frontend_freed = true;
        }
        let limits = self.maps.limits();
        let stamp = stamp.max(self.stamp.saturating_add(1));
        let input = Input { world: &self.world, actual: &self.actual, limits, stamp };
        let Output { mut image, names, rejections, warnings } = compile(&input);
        self.record_owners(&names)?;
        image.merge(&self.canary);
        let ops = diff(&self.actual, &image).install;
        self.run(&ops)?;
        self.desired = image;
        self.stamp = stamp;
        self.names = names;
        self.report = Report { rejections, warnings, writes: ops.len() };
        Ok(&self.report)
    }

    /// Adds entries of the agent's own at indices that the world does not get. They are live when
    /// this returns `Ok`, and stay through every [`Self::install`].
    /// A backend that is there already keeps its generation.
    pub fn put_canary(&mut self, mut canary: MapImage) -> Result<(), MapError> {
        for (index, backend) in &mut canary.backends {
            let before = self.actual.backends.get(index);
            if let Some(before) = before
                && before.addr == backend.addr
                && before.port == backend.port
                && before.service == backend.service
            {
                *backend = *before;
            }
        }
        let mut image = self.actual.clone();
        image.merge(&canary);
        self.run(&diff(&self.actual, &image).install)?;
        self.desired.merge(&canary);
        self.canary = canary;
        Ok(())
    }

    /// Entries of the agent's own.
    pub const fn canary(&self) -> &MapImage {
        &self.canary
    }

    /// Frees what is no longer used, but for backends with connections, so that these are counted
    /// for them to their end. Waits for a grace period if there is anything to free.
    ///
    /// `now` is the time since any fixed moment.
    pub fn retire(&mut self, now: Duration) -> Result<usize, MapError> {
        if self.unsure {
            return Ok(0);
        }
        let mut keep = self.desired.clone();
        self.leaving.retain(|index, _| !keep.backends.contains_key(index));
        for (index, backend) in &self.actual.backends {
            if keep.backends.contains_key(index) {
                continue;
            }
            let since = *self.leaving.entry(*index).or_insert(now);
            let counters = self.counted(*index)?;
            // A connect that fails before its SYN stays an attempt for ever, hence the bound.
            let open = counters.opened > counters.closed;
            let under_way = counters.attempts > counters.opened + counters.failed
                && now.saturating_sub(since) < CONNECTING;
            if open || under_way {
                keep.backends.insert(*index, *backend);
            }
        }
        let ops = diff(&self.actual, &keep).retire;
        self.run(&ops)?;
        let freed = |op: &MapOp| matches!(op, MapOp::ClearBackend(_) | MapOp::ClearService(_));
        if ops.iter().any(freed) {
            // Whoever found the entry in use counts there until he ends.
            self.run(&[MapOp::Grace])?;
            self.leaving.retain(|index, _| self.actual.backends.contains_key(index));
            for op in &ops {
                if let MapOp::ClearBackend(index) = op {
                    self.journal.settle_backend(*index, self.maps.backend_counters(*index)?);
                } else if let MapOp::ClearService(index) = op {
                    self.journal.settle_service(*index, self.maps.service_counters(*index)?);
                }
            }
            self.commit();
        }
        Ok(ops.len())
    }

    /// Says whose the counters of an index are, before it changes hands: who is going, who has
    /// come back, and who has another name at the same address, by another version say.
    fn record_owners(&mut self, names: &Names) -> Result<(), MapError> {
        for (index, name) in &self.names.backends {
            if !names.backends.contains_key(index) && self.actual.backends.contains_key(index) {
                self.journal.leave_backend(*index, &Account::from(name));
            }
        }
        for (index, name) in &names.backends {
            let before = self.names.backends.get(index).map(Account::from);
            let account = Account::from(name);
            let known = before.is_some() || self.journal.leaver(*index).is_some();
            if known && before.as_ref() != Some(&account) {
                let raw = self.maps.backend_counters(*index)?;
                self.journal.take_backend(*index, before.as_ref(), &account, raw);
            }
        }
        for (index, (name, _)) in &self.names.services {
            if !names.services.contains_key(index) && self.actual.services.contains_key(index) {
                self.journal.leave_service(*index, name);
            }
        }
        for (index, (name, _)) in &names.services {
            if self.journal.service_leaver(*index).is_some() {
                let raw = self.maps.service_counters(*index)?;
                self.journal.take_service(*index, name, raw);
            }
        }
        self.commit();
        Ok(())
    }

    fn commit(&mut self) {
        self.journal.commit().unwrap_or_else(|error| tracing::error!("{error}"));
    }

    /// A backend's counters since it got its present name.
    fn counted(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        Ok(self.journal.counted(index, self.maps.backend_counters(index)?))
    }

    /// Counters of all connections since the maps were made.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let mut totals = self.journal.settled().clone();
        let Some((BackendIndex { index: last }, _)) = self.actual.backends.last_key_value() else {
            return Ok(totals);
        };
        let counters = self.maps.all_backend_counters(last.saturating_add(1))?;
        let leaving: BTreeMap<_, _> = self.journal.leaving_backends().collect();
        for index in self.actual.backends.keys() {
            let raw = usize::try_from(index.index).ok().and_then(|at| counters.get(at));
            let account = match (leaving.get(index), self.names.backends.get(index)) {
                (Some(account), _) => (*account).clone(),
                (None, Some(name)) => name.into(),
                (None, None) => Account::default(),
            };
            let total = totals.entry(account).or_default();
            *total = total.plus(self.journal.counted(*index, raw.copied().unwrap_or_default()));
        }
        Ok(totals)
    }

    /// Connections that no backend could take, since the maps were made.
    pub fn without_backend(&self) -> Result<BTreeMap<Account, ServiceCounters>, MapError> {
        let mut totals = self.journal.settled_services().clone();
        let Some((ServiceIndex { index: last }, _)) = self.actual.services.last_key_value() else {
            return Ok(totals);
        };
        let counters = self.maps.all_service_counters(last.saturating_add(1))?;
        let leaving: BTreeMap<_, _> = self.journal.leaving_services().collect();
        for index in self.actual.services.keys() {
            let raw = usize::try_from(index.index).ok().and_then(|at| counters.get(at));
            let name = leaving.get(index).copied();
            let name = name.or_else(|| self.names.services.get(index).map(|(name, _)| name));
            let account = name.cloned().map(Account::of_service).unwrap_or_default();
            let total = totals.entry(account).or_default();
            let counted = self.journal.counted_service(*index, raw.copied().unwrap_or_default());
            *total = total.plus(counted);
        }
        Ok(totals)
    }

    fn run(&mut self, ops: &[MapOp]) -> Result<(), MapError> {
        for op in ops {
            if matches!(op, MapOp::PutFrontend(..)) && self.frontend_freed {
                self.step(&MapOp::Grace)?;
            }
            self.step(op)?;
        }
        Ok(())
    }

    fn step(&mut self, op: &MapOp) -> Result<(), MapError> {
        self.maps.apply(op).inspect_err(|_| self.unsure = true)?;
        op.apply_to(&mut self.actual);
        if matches!(op, MapOp::Grace) {
            self.frontend_freed = false;
        } else if matches!(op, MapOp::DeleteFrontend(_)) {
            self.frontend_freed = true;
        }
        Ok(())
    }

    /// What the maps hold.
    pub const fn actual(&self) -> &MapImage {
        &self.actual
    }

    /// Whose the indices are.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Result of the last successful [`Self::install`].
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What should be.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// The maps.
    pub const fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, for a test that counts.
    #[cfg(test)]
    const fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    /// Whose the counters are.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Records what the maps hold.
    pub fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.maps.set_held(held)
    }
}

/// Settles what an earlier agent freed and did not come to settle.
fn settle_freed<M: MapStore>(
    maps: &M,
    actual: &MapImage,
    journal: &mut Journal,
) -> Result<(), MapError> {
    let backends: Vec<_> = journal.leaving_backends().map(|(index, _)| index).collect();
    for index in backends.into_iter().filter(|index| !actual.backends.contains_key(index)) {
        journal.settle_backend(index, maps.backend_counters(index)?);
    }
    let services: Vec<_> = journal.leaving_services().map(|(index, _)| index).collect();
    for index in services.into_iter().filter(|index| !actual.services.contains_key(index)) {
        journal.settle_service(index, maps.service_counters(index)?);
    }
    Ok(())
}
