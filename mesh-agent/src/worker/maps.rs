//! What the worker does to the maps: writes updates, health and verdicts, tries again what could
//! not be written, and says what is new about what is not live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use mesh_common::backend::BackendIndex;

use super::stamp;
use crate::bpf::attach::detached;
use crate::bpf::enrol::EnrolMaps;
use crate::canary;
use crate::compile::Rejection;
use crate::enrol::verdicts::Verdicts;
use crate::guard::follower::Ejected;
use crate::maps::kernel::KernelMaps;
use crate::maps::{Held, MapError, MapStore as _};
use crate::programmed::Programmed;
use crate::proxy::course::Counts;
use crate::reconcile::{Reconciler, Report};
use crate::upkeep::Upkeep;
use crate::world::Change;
use crate::xds::batch::Outcome;

/// What could not be written and is to be tried again.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// What the maps are to say that they hold; as they say already, if nothing.
    held: Option<Held>,
    /// Whether an update is among it: the control plane was told that it is not live.
    is_update: bool,
}

impl Failed {
    /// What belongs to no revision.
    const OWN: Self = Self { held: None, is_update: false };
}

/// The maps, and what is known of them.
pub(super) struct Maps {
    pub(super) reconciler: Reconciler<KernelMaps>,
    pub(super) enrol: EnrolMaps,
    pub(super) upkeep: Upkeep,
    pub(super) enrol_warnings: Vec<String>,
    /// Verdicts that are not written yet.
    verdicts: Option<Arc<Verdicts>>,
    pub(super) pin_path: PathBuf,
    started: Instant,
    failed: Option<Failed>,
    /// The last that was written.
    revision: u64,
    /// What the log has said.
    told: Report,
    /// Which ways the log has said that services with rules for requests go.
    ways: Counts,
    pub(super) writes: u64,
    pub(super) failures: u64,
    /// Open taps.
    pub(super) taps: usize,
}

impl Maps {
    /// Nothing has been written yet.
    pub(super) fn new(
        reconciler: Reconciler<KernelMaps>,
        enrol: EnrolMaps,
        upkeep: Upkeep,
        pin_path: PathBuf,
    ) -> Self {
        Self {
            reconciler,
            enrol,
            upkeep,
            enrol_warnings: Vec::new(),
            verdicts: None,
            pin_path,
            started: Instant::now(),
            failed: None,
            revision: 0,
            told: Report::default(),
            ways: Counts::default(),
            writes: 0,
            failures: 0,
            taps: 0,
        }
    }

    /// There are so many taps now.
    pub(super) fn tap(&mut self, open: usize) {
        self.taps = open;
        if let Err(error) = self.reconciler.maps().tap(open > 0) {
            tracing::error!(%error, "taps do not see all connections");
        }
    }

    /// How many events the kernel has lost.
    pub(super) fn lost(&self) -> u64 {
        self.reconciler.maps().lost_events().unwrap_or_else(|error| {
            tracing::debug!(%error, "nobody knows how many events were lost");
            0
        })
    }

    /// Whether something is to be written that could not be.
    pub(super) const fn is_behind(&self) -> bool {
        self.failed.is_some() || self.verdicts.is_some()
    }

    /// Lets the world know what time it is.
    pub(super) fn set_time(&mut self) {
        self.reconciler.set_time(self.started.elapsed());
    }

    /// Takes over verdicts, which [`Self::enrol`] writes.
    pub(super) fn take_verdicts(&mut self, verdicts: Arc<Verdicts>) {
        self.enrol_warnings.clone_from(&verdicts.warnings);
        self.verdicts = Some(verdicts);
    }

    /// Writes the verdicts, if there are new ones.
    pub(super) fn enrol(&mut self) {
        let Some(verdicts) = self.verdicts.take() else { return };
        match self.enrol.apply(&verdicts) {
            Ok(0) => {}
            Ok(writes) => tracing::debug!(writes, "verdicts written"),
            Err(error) => {
                self.failures += 1;
                tracing::error!(%error, "cannot write the verdicts; trying again");
                self.verdicts = Some(verdicts);
            }
        }
    }

    /// Takes over which backends are ejected; [`Self::refresh`] writes it.
    pub(super) fn eject(&mut self, ejected: &Ejected) {
        let backends = &self.reconciler.actual().backends;
        let is_held = |(index, generation): &&(BackendIndex, u32)| {
            backends.at(*index).generation == *generation
        };
        let ejected = ejected.iter().filter(is_held).map(|(index, _)| *index).collect();
        self.reconciler.set_ejected(ejected);
    }

    /// Writes what has become due without an update: health, ejections, and shares that grow with
    /// time. Returns whether there was anything to write. Before the first update there is not: the
    /// maps may hold more than the world.
    pub(super) fn refresh(&mut self) -> bool {
        // What could not be written comes with the next attempt.
        if self.failed.is_some() || !self.reconciler.is_installed() || !self.reconciler.is_due() {
            return false;
        }
        self.failed = Some(Failed::OWN);
        match self.catch_up() {
            Ok(report) => {
                tracing::debug!(writes = report.writes, "shares have changed");
                self.say();
            }
            Err(error) => {
                self.failures += 1;
                tracing::error!(%error, "cannot write the maps; trying again");
            }
        }
        true
    }

    /// Applies changes, and says what is not live.
    pub(super) fn update(&mut self, changes: Vec<Change>, held: Held) -> Outcome {
        let revision = held.revision;
        self.reconciler.change(changes);
        let failed = Some(Failed { held: Some(held), is_update: true });
        self.failed = failed;
        match self.catch_up() {
            Ok(report) => {
                tracing::info!(revision, writes = report.writes, "live");
                self.say();
                // Maps that no program reads are not live; once they are read again, the control
                // plane is asked for what was not acknowledged.
                let error = detached(&self.pin_path);
                self.failed = failed.filter(|_| error.is_some());
                Outcome { rejections: report.rejections, error }
            }
            Err(error) => {
                self.failures += 1;
                tracing::error!(revision, %error, "cannot write the maps; what they hold stays");
                Outcome { rejections: Vec::new(), error: Some(error.to_string()) }
            }
        }
    }

    /// Applies what belongs to no revision. Until the first update, and where something is to be
    /// tried again, it goes with that. Returns whether there was anything to write.
    pub(super) fn health(&mut self, changes: Vec<Change>) -> bool {
        self.reconciler.change(changes);
        self.refresh()
    }

    /// Installs the world, with what is to be written. Where something does not fit, what is no
    /// longer used is freed first.
    fn catch_up(&mut self) -> Result<Report, MapError> {
        let held = match self.failed.and_then(|failed| failed.held) {
            Some(held) => held,
            None => self.reconciler.maps().held()?,
        };
        let now = self.started.elapsed();
        let known = self.reconciler.report().rejections.clone();
        let mut report = self.reconciler.install(stamp())?.clone();
        let more = report.rejections.iter().any(|rejection| !known.contains(rejection));
        if more && self.reconciler.retire(now)? > 0 {
            let again = self.reconciler.install(stamp())?;
            report = Report { writes: report.writes + again.writes, ..again.clone() };
        }
        self.reconciler.set_held(held)?;
        self.upkeep.tell(&self.reconciler);
        self.failed = None;
        self.revision = held.revision;
        self.writes += u64::try_from(report.writes).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// What the maps hold, read back, and what they should hold.
    pub(super) fn programmed(&self) -> Result<Programmed, MapError> {
        let maps = self.reconciler.maps();
        let (mut image, held) = (maps.read()?, maps.held()?);
        canary::strip(&mut image);
        Ok(Programmed { held, image, intended: self.reconciler.intended() })
    }

    /// Writes to the log what of the last report it has not said.
    fn say(&mut self) {
        let ways = self.reconciler.proxied();
        if ways != std::mem::replace(&mut self.ways, ways) {
            let [redirected, waiting, bypassed, refused] = ways;
            tracing::info!(redirected, waiting, bypassed, refused, "services that ask for Envoy");
        }
        let (report, told, revision) = (self.reconciler.report(), &self.told, self.revision);
        if report.warnings == told.warnings && report.rejections == told.rejections {
            return;
        }
        for warning in report.warnings.iter().filter(|it| !told.warnings.contains(it)) {
            tracing::warn!(revision, "{warning}");
        }
        let new = report.rejections.iter().filter(|it| !told.rejections.contains(it));
        for Rejection { object, message } in new {
            tracing::error!(revision, %object, "rejected: {message}");
        }
        self.told = report.clone();
    }

    /// Tries again what could not be written, frees what is no longer used, and gives what did
    /// not fit another try in the room. Returns whether anything has become live that the control
    /// plane was told is not.
    pub(super) fn tidy(&mut self) -> Result<bool, MapError> {
        let rejected = self.reconciler.report().rejections.len();
        let is_update = if let Some(failed) = self.failed {
            if detached(&self.pin_path).is_some() {
                return Ok(false);
            }
            failed.is_update
        } else {
            let now = self.started.elapsed();
            self.upkeep.sweep(&self.reconciler, now)?;
            let freed = self.reconciler.retire(now)?;
            self.upkeep.tell(&self.reconciler);
            if let Err(error) = self.reconciler.sweep_edges(now) {
                self.failures += 1;
                tracing::error!(%error, "edges that nobody uses any more stay in the map");
            }
            self.reconciler.sweep_inbound(now);
            if freed == 0 || rejected == 0 {
                return Ok(false);
            }
            self.failed = Some(Failed::OWN);
            false
        };
        let left = self.catch_up()?.rejections.len();
        self.say();
        Ok(is_update || left < rejected)
    }
}
