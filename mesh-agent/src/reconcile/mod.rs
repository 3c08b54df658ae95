//! Keeps the maps equal to the world: the only writer of the policy maps. An update costs what it
//! changes, not what there is.
//!
//! ```text
//! world ─ changed groups ─► demand: units to compile, frontends nobody wants
//!                             │ stage: plan, indices and slots of each unit
//!                             ▼
//!        update: writes in order ─► maps ─► retire: clear what is unused, take its room back
//! ```

mod counts;
mod demand;
mod edges;
mod flags;
mod guarded;
mod guards;
mod inbound;
mod intended;
mod names;
mod own;
mod proxied;
mod refusals;
mod room;
mod stage;
mod state;
mod switch;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::{Kind, ObjectRef};
use mesh_common::backend::BackendIndex;
use mesh_common::counter::BackendCounters;
use mesh_telemetry::trace_span;

pub use self::counts::Raw;
use self::edges::{Seen, Sweep};
pub(crate) use self::flags::{draining, serving};
pub use self::names::{BackendKey, BackendNames, Called, Named, Numbers};
use self::state::State;
pub use self::update::Removed;
use crate::compile::{Kernel, Rejection};
use crate::diff::MapOp;
use crate::edges::Roster;
use crate::edges::names::Names;
use crate::guard::directory::Directory;
use crate::image::MapImage;
use crate::inbound::Inbound;
use crate::ledger::Journal;
use crate::maps::{Held, MapError, MapStore};
use crate::world::{Change, GroupId, NodeLocality, World};

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
    journal: Journal,
    names: Names,
    roster: Roster,
    seen: Seen,
    sweep: Sweep,
    inbound: Inbound,
    state: State,
    report: Report,
    /// Backends that the journal has as leaving.
    left: BTreeSet<BackendIndex>,
    /// A frontend was deleted since the last grace period: its element must not be reused yet.
    frontend_freed: bool,
    /// A program that began before the maps were read may still run, having seen what they do not
    /// hold any more.
    taken_over: bool,
    /// Highest generation given out.
    stamp: u32,
    /// An operation failed; the maps are read again before the next.
    unsure: bool,
    /// The maps have been brought to the world once.
    installed: bool,
}

impl<M: MapStore> Reconciler<M> {
    /// Takes over maps as they are, with whatever an earlier agent left in them. Nobody knows who
    /// clients are.
    pub fn open(maps: M, journal: Journal, here: NodeLocality) -> Result<Self, MapError> {
        Self::open_with(maps, journal, here, (Names::default(), Roster::default()))
    }

    /// The same, with who clients are, and how many of them are told apart.
    pub fn open_with(
        maps: M,
        journal: Journal,
        here: NodeLocality,
        (mut names, mut roster): (Names, Roster),
    ) -> Result<Self, MapError> {
        names.remember(journal.edges().names());
        roster.take_over(journal.edges().seats());
        let actual = maps.read()?;
        let state = State::new(World::new(here), actual, maps.limits());
        let mut reconciler = Self {
            maps,
            journal,
            names,
            inbound: Inbound::default(),
            roster,
            seen: Seen::default(),
            sweep: Sweep::default(),
            state,
            report: Report::default(),
            left: BTreeSet::new(),
            frontend_freed: true,
            taken_over: true,
            stamp: 0,
            unsure: false,
            installed: false,
        };
        reconciler.adopt_edges()?;
        reconciler.adopt_refusals()?;
        reconciler.settle_freed()?;
        Ok(reconciler)
    }

    /// Changes the world without touching the maps.
    pub fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.state.world.apply(change);
        }
    }

    /// Says what timeouts depend on; before the first [`Self::install`].
    pub const fn set_kernel(&mut self, kernel: Kernel) {
        self.state.kernel = kernel;
    }

    /// Says whether the programs can accelerate connections; before the first [`Self::install`].
    pub const fn set_acceleration(&mut self, usable: bool) {
        self.state.set_acceleration(usable);
    }

    /// Sets the present moment, since any fixed one, for slow start, and for who waits for Envoy. The
    /// next [`Self::install`] writes the shares that have grown. Until the first call, nothing starts
    /// slowly.
    pub fn set_time(&mut self, now: Duration) {
        self.state.world.set_time(now);
        let late = self.state.courses.set_time(now);
        self.state.again.extend(late);
    }

    /// How long until a share grows, or a service has waited for Envoy long enough, and
    /// [`Self::set_time`] and [`Self::install`] are due; `None` where none does.
    pub fn next_step(&self) -> Option<Duration> {
        let (grows, waits) = (self.state.world.next_step(), self.state.courses.next());
        grows.into_iter().chain(waits).min()
    }

    /// Sets which backends outlier detection has ejected: all of them, each time. The next
    /// [`Self::install`] takes connections away from them, and gives those back that are not among
    /// them any more. A backend that is freed is none of them.
    pub fn set_ejected(&mut self, ejected: BTreeSet<BackendIndex>) {
        self.state.set_ejected(ejected);
    }

    /// Whether [`Self::install`] would look at anything because of the health, ejections, or time
    /// that has been set.
    pub fn is_due(&self) -> bool {
        !self.state.again.is_empty() || self.state.world.has_changed()
    }

    /// Whether the maps have been brought to the world once. Before that they may hold what the
    /// world does not know yet.
    pub const fn is_installed(&self) -> bool {
        self.installed
    }

    /// Whether it is known for whom everything is counted: the maps are as the world says. Before
    /// that, and after an operation has failed, some entries may be another's.
    pub const fn is_settled(&self) -> bool {
        self.installed && !self.unsure
    }

    /// Brings the maps to the world. When it returns `Ok`, the world is live, but for what the
    /// report rejects; what is no longer used is freed by [`Self::retire`] later.
    ///
    /// `stamp` is the lowest generation to give out; a clock keeps it above what earlier agents
    /// gave out.
    pub fn install(&mut self, stamp: u32) -> Result<&Report, MapError> {
        if self.unsure {
            let actual = self.maps.read()?;
            self.state.adopt(actual);
            self.settle_freed()?;
            self.unsure = false;
            self.frontend_freed = true;
            self.taken_over = true;
        }
        self.stamp = stamp.max(self.stamp.saturating_add(1));
        let compiling = trace_span!("compile").entered();
        let mut update = self.state.update(self.stamp);
        self.inbound_before();
        self.before(&update);
        let ops = std::mem::take(&mut update.writes).into_ops();
        drop(compiling);
        let _writing = trace_span!("maps.write", mesh.writes = ops.len()).entered();
        // From here to the end, the state is ahead of the maps.
        self.unsure = true;
        if self.taken_over && !ops.is_empty() {
            self.run(&[MapOp::Grace])?;
        }
        self.run(&ops)?;
        self.after(&update)?;
        self.inbound_after();
        self.unsure = false;
        self.installed = true;
        self.state.note_gone(&update.removed);
        self.state.settle_guarded();
        self.report = self.reported(ops.len());
        Ok(&self.report)
    }

    fn reported(&self, writes: usize) -> Report {
        let mut report = Report { writes, ..Report::default() };
        for ((name, _), trouble) in &self.state.troubles {
            report.warnings.extend_from_slice(&trouble.warnings);
            if let Some(message) = trouble.rejection.clone() {
                let object = ObjectRef { kind: Kind::Service, name: name.clone() };
                report.rejections.push(Rejection { object, message });
            }
        }
        report
    }

    /// Frees what is no longer used, but for backends with connections, so that these are counted
    /// for them to their end. Waits for a grace period if there is anything to free.
    ///
    /// `now` is the time since any fixed moment.
    pub fn retire(&mut self, now: Duration) -> Result<usize, MapError> {
        if self.unsure {
            return Ok(0);
        }
        // Who chose one of them before it was marked has counted it after that.
        if self.state.leaving.values().any(Option::is_none) {
            self.run(&[MapOp::Grace])?;
        }
        let mut idle = Vec::new();
        for (index, since) in &mut self.state.leaving {
            let raw = self.maps.backend_counters(*index)?;
            let since = *since.get_or_insert(now);
            let connecting = now.saturating_sub(since) < CONNECTING;
            // Its own, and those of an endpoint that was replaced at its address.
            if !is_used(&raw, connecting)
                && !is_used(&self.journal.counted(*index, raw), connecting)
            {
                idle.push(*index);
            }
        }
        let ops = self.state.retirement(&idle);
        if ops.is_empty() {
            return Ok(0);
        }
        let service = |index: &BackendIndex| self.state.actual.backends.at(*index).service;
        let idle: Vec<_> = idle.iter().map(|index| (*index, service(index))).collect();
        self.unsure = true;
        self.run(&ops)?;
        let services = self.state.reclaim(&idle);
        self.settle(idle.iter().map(|(index, _)| *index), services)?;
        self.state.settle_guarded();
        self.unsure = false;
        Ok(ops.len())
    }

    /// Does operations, and waits before an element of a deleted frontend may be used again.
    fn run(&mut self, ops: &[MapOp]) -> Result<(), MapError> {
        let mut all = Vec::with_capacity(ops.len() + 1);
        for op in ops {
            let puts = matches!(op, MapOp::PutFrontend(..));
            if puts && self.frontend_freed {
                all.push(MapOp::Grace);
            }
            let waits = puts || matches!(op, MapOp::Grace);
            let deletes = matches!(op, MapOp::DeleteFrontend(_));
            self.frontend_freed = deletes || (self.frontend_freed && !waits);
            all.push(*op);
        }
        self.maps.apply_all(&all)?;
        for op in &all {
            op.apply_to(&mut self.state.actual);
            self.state.switch.follow(op);
            self.taken_over &= !matches!(op, MapOp::Grace);
        }
        Ok(())
    }

    /// The kernel services with guards, as the maps held them after the last [`Self::install`] or
    /// [`Self::retire`] that succeeded; without their policies. It is the same one until something
    /// in it changes.
    pub const fn guarded(&self) -> &Arc<Directory> {
        self.state.guarded.directory()
    }

    /// What the maps hold.
    pub const fn actual(&self) -> &MapImage {
        &self.state.actual
    }

    /// Writes entries of the agent's own, beyond the limits. They are live when this returns `Ok`,
    /// and stay through every [`Self::install`]. A backend that is there already keeps its
    /// generation.
    pub fn put_canary(&mut self, mut canary: MapImage) -> Result<(), MapError> {
        let before = self.state.own.clone();
        let kept: Vec<_> = before
            .backends
            .iter()
            .filter(|(index, old)| {
                let new = canary.backends.at(*index);
                new.addr == old.addr && new.port == old.port && new.service == old.service
            })
            .map(|(index, old)| (index, *old))
            .collect();
        for (index, backend) in kept {
            canary.backends.insert(index, backend);
        }
        let ops = own::ops(&before, &canary);
        self.maps.apply_all(&ops)?;
        self.state.own = canary;
        Ok(())
    }

    /// Entries of the agent's own.
    pub const fn canary(&self) -> &MapImage {
        &self.state.own
    }

    /// All backends whose endpoint has gone and that are still in the maps, for connections that
    /// somebody may want to end.
    pub fn removed(&self) -> impl Iterator<Item = Removed> {
        self.state.removed()
    }

    /// Result of the last successful [`Self::install`].
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What should be.
    pub const fn world(&self) -> &World {
        &self.state.world
    }

    /// Groups that have changed since this was asked last.
    pub fn take_to_check(&mut self) -> Vec<GroupId> {
        self.state.world.take_to_check()
    }

    /// The maps.
    pub const fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, for a test that counts.
    pub const fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    /// Records what the maps hold.
    pub fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.maps.set_held(held)
    }
}

/// Whether a backend has connections, or may be getting one. A connect that fails before its SYN
/// stays an attempt for ever, hence the bound.
const fn is_used(counters: &BackendCounters, connecting: bool) -> bool {
    let open = counters.opened.wrapping_sub(counters.closed).cast_signed();
    let ended = counters.opened.wrapping_add(counters.failed);
    let under_way = counters.attempts.wrapping_sub(ended).cast_signed();
    open > 0 || (connecting && under_way > 0)
}
