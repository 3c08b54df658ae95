//! Keeps the maps equal to the world: the only writer of the policy maps.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::BackendCounters;

use crate::compile::{BackendName, Input, Names, Output, Rejection, compile};
use crate::diff::{MapOp, diff};
use crate::image::MapImage;
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

/// Counters by who is counted.
pub type Totals = BTreeMap<BackendName, BackendCounters>;

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
    /// Final counters of backends that have been freed.
    settled: Totals,
    /// Counters of a backend when it got its present name, where that is not 0.
    base: BTreeMap<BackendIndex, BackendCounters>,
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
    pub fn open(maps: M) -> Result<Self, MapError> {
        let actual = maps.read()?;
        let stamp = actual.backends.values().map(|backend| backend.generation).max().unwrap_or(0);
        Ok(Self {
            maps,
            world: World::default(),
            desired: actual.clone(),
            actual,
            names: Names::default(),
            settled: Totals::new(),
            base: BTreeMap::new(),
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
        let Output { image, mut names, rejections, warnings } = compile(&input);
        let ops = diff(&self.actual, &image).install;
        self.run(&ops)?;
        self.settle_renamed(&names)?;
        // Backends that are gone keep their names while they have connections.
        for (index, name) in &self.names.backends {
            if self.actual.backends.contains_key(index) {
                names.backends.entry(*index).or_insert_with(|| name.clone());
            }
        }
        self.desired = image;
        self.stamp = stamp;
        self.names = names;
        self.report = Report { rejections, warnings, writes: ops.len() };
        Ok(&self.report)
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
            let counters = self.maps.backend_counters(*index)?;
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
        Ok(ops.len())
    }

    /// Keeps a backend's counters before its entry is freed.
    fn settle(&mut self, index: BackendIndex) -> Result<(), MapError> {
        self.leaving.remove(&index);
        let counters = self.counted(index)?;
        self.base.remove(&index);
        if let Some(name) = self.names.backends.remove(&index) {
            let total = self.settled.entry(name).or_default();
            *total = total.plus(counters);
        }
        Ok(())
    }

    /// An endpoint that was replaced at its address, by another version say, starts from 0.
    fn settle_renamed(&mut self, names: &Names) -> Result<(), MapError> {
        for (index, name) in &names.backends {
            let Some(before) = self.names.backends.get(index).filter(|before| *before != name)
            else {
                continue;
            };
            let counters = self.counted(*index)?;
            let total = self.settled.entry(before.clone()).or_default();
            *total = total.plus(counters);
            self.base.insert(*index, self.maps.backend_counters(*index)?);
        }
        Ok(())
    }

    /// A backend's counters since it got its present name.
    fn counted(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        let base = self.base.get(&index).copied().unwrap_or_default();
        Ok(self.maps.backend_counters(index)?.since(base))
    }

    /// Counters of all connections since this agent started or, for backends that were there
    /// before, since they got their entry.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let mut totals = self.settled.clone();
        for (index, name) in &self.names.backends {
            let counters = self.counted(*index)?;
            let total = totals.entry(name.clone()).or_default();
            *total = total.plus(counters);
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
        if let MapOp::ClearBackend(index) = op {
            self.settle(*index)?;
        }
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

    /// Records what the maps hold.
    pub fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.maps.set_held(held)
    }
}
