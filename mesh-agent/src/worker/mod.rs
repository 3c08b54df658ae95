//! The thread that owns the maps. Everybody else asks it by message, so that writes have one
//! order and system calls do not hold up the network.

mod stats;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use mesh_api::model::{Health, ObjectName};
use mesh_common::backend::BackendIndex;
use tokio::sync::{oneshot, watch};

pub use self::stats::Stats;
use self::stats::stats;
use crate::bpf::attach::detached;
use crate::bpf::enrol::EnrolMaps;
use crate::compile::Rejection;
use crate::enrol::agent::Fresh;
use crate::enrol::verdicts::Verdicts;
use crate::guard::follower::Ejected;
use crate::health::feed::Feed;
use crate::maps::kernel::KernelMaps;
use crate::maps::{Held, MapError, MapStore as _};
use crate::reconcile::{Reconciler, Report};
use crate::upkeep::Upkeep;
use crate::world::Change;
use crate::xds::batch::Outcome;

/// How long nothing must happen before the worker frees what is no longer used; a grace period
/// takes some milliseconds, which must not delay the next update.
const IDLE: Duration = Duration::from_millis(100);
/// After how many updates without such a pause it does so all the same.
const MOST_UNTIDY: u32 = 1_024;
/// How often it tries again what could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// How often it looks whether backends kept for open connections have become free.
const LEFTOVERS: Duration = Duration::from_secs(10);
/// 2025-01-01, where generations begin.
const EPOCH: Duration = Duration::from_hours(482_136);

/// Asks the worker.
#[derive(Clone, Debug)]
pub struct Worker {
    sender: Sender<Request>,
    recovered: watch::Receiver<u64>,
}

/// The worker has ended: the agent is going down.
#[derive(Debug, thiserror::Error)]
#[error("the worker thread has ended")]
pub struct Gone;

#[derive(Debug)]
enum Request {
    Update { changes: Vec<Change>, held: Held, reply: oneshot::Sender<Outcome> },
    Health { changes: Vec<Change>, reply: Option<oneshot::Sender<()>> },
    Stats(oneshot::Sender<Result<Stats, MapError>>),
    Enrol(Arc<Verdicts>),
    EnrolNew(Fresh),
    Eject(Ejected),
    Stop,
}

impl Worker {
    /// The asking and the answering end.
    #[must_use]
    pub fn new() -> (Self, Inbox) {
        let (sender, receiver) = channel();
        let (recovered, recoveries) = watch::channel(0);
        (Self { sender, recovered: recoveries }, Inbox { receiver, recovered })
    }

    /// Changes whenever something that was rejected has become live since.
    #[must_use]
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        let mut recoveries = self.recovered.clone();
        // Those before are no news: a copy has seen only what its original has.
        recoveries.mark_unchanged();
        recoveries
    }

    /// Applies changes; when it answers without an error, they are live.
    pub async fn update(&self, changes: Vec<Change>, held: Held) -> Result<Outcome, Gone> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Update { changes, held, reply };
        self.sender.send(request).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Applies what belongs to no revision: the health of endpoints. When it answers, the world has
    /// it, and so have the maps if they could be written; otherwise that is tried again.
    pub async fn health(&self, changes: Vec<Change>) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Health { changes, reply: Some(reply) };
        self.sender.send(request).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Reads counters and usage.
    pub async fn stats(&self) -> Result<Result<Stats, MapError>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Stats(reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Has other verdicts written.
    pub fn enrol(&self, verdicts: Arc<Verdicts>) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::Enrol(verdicts)).unwrap_or_default();
    }

    /// Has verdicts on new cgroups written, ahead of all the others.
    pub fn enrol_new(&self, fresh: Fresh) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::EnrolNew(fresh)).unwrap_or_default();
    }

    /// Applies what this node has found out itself about the health of endpoints.
    pub fn found(&self, found: Vec<(ObjectName, Health)>) {
        let changes = found.into_iter().map(|(name, health)| Change::Health(name, Some(health)));
        let request = Request::Health { changes: changes.collect(), reply: None };
        // The agent is going down where nobody listens.
        self.sender.send(request).unwrap_or_default();
    }

    /// Has the tables written without these backends, and with all others.
    pub fn eject(&self, ejected: Ejected) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::Eject(ejected)).unwrap_or_default();
    }

    /// Lets the worker end after what it was asked before.
    pub fn stop(&self) {
        // It has ended already where nobody listens.
        self.sender.send(Request::Stop).unwrap_or_default();
    }
}

/// The answering end; its thread is the worker.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Request>,
    recovered: watch::Sender<u64>,
}

impl Inbox {
    /// Works until told to stop, or until nobody can ask any more.
    pub fn work(
        self,
        reconciler: Reconciler<KernelMaps>,
        enrol: EnrolMaps,
        upkeep: Upkeep,
        mut feed: Feed,
        pin_path: PathBuf,
    ) {
        let mut maps = Maps {
            reconciler,
            enrol,
            upkeep,
            enrol_warnings: Vec::new(),
            verdicts: None,
            pin_path,
            started: Instant::now(),
            failed: None,
            writes: 0,
            failures: 0,
        };
        let mut updates = 0;
        // Moved by updates and failures only: whoever asks for numbers does not put it off.
        let mut next = Instant::now() + IDLE;
        loop {
            let now = Instant::now();
            if updates == MOST_UNTIDY || now >= next {
                updates = 0;
                self.tidy(&mut maps);
                maps.enrol();
                next = Instant::now() + if maps.is_behind() { RETRY } else { LEFTOVERS };
            }
            feed.follow(&mut maps.reconciler, &mut maps.enrol);
            let wait = next.saturating_duration_since(now);
            let wait = maps.reconciler.next_step().map_or(wait, |step| wait.min(step));
            let request = self.receiver.recv_timeout(wait);
            maps.reconciler.set_time(maps.started.elapsed());
            match request {
                Ok(Request::Update { changes, held, reply }) => {
                    let outcome = maps.update(changes, held);
                    updates += 1;
                    next = Instant::now() + if maps.is_behind() { RETRY } else { IDLE };
                    // The line that asked may have broken meanwhile; the maps are right anyway.
                    reply.send(outcome).unwrap_or_default();
                }
                Ok(Request::Health { changes, reply }) => {
                    maps.health(changes);
                    updates += 1;
                    next = Instant::now() + if maps.is_behind() { RETRY } else { IDLE };
                    // Whoever asked may have gone, or not have waited.
                    reply.map(|reply| reply.send(())).transpose().unwrap_or_default();
                }
                Ok(Request::Stats(reply)) => {
                    let stats = stats(&maps);
                    // Whoever asked may have gone.
                    drop(reply.send(stats));
                }
                Ok(Request::Enrol(verdicts)) => {
                    maps.enrol_warnings.clone_from(&verdicts.warnings);
                    maps.verdicts = Some(verdicts);
                    maps.enrol();
                    if maps.is_behind() {
                        next = next.min(Instant::now() + RETRY);
                    }
                }
                Ok(Request::EnrolNew(fresh)) => {
                    // They come again with all verdicts, and that is tried until it succeeds.
                    if let Err(error) = maps.enrol.add(&fresh) {
                        tracing::warn!(%error, "verdicts on new cgroups are late");
                    }
                }
                Ok(Request::Eject(ejected)) => maps.eject(&ejected),
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if maps.refresh() {
                next = Instant::now() + if maps.is_behind() { RETRY } else { IDLE };
            }
        }
    }

    fn tidy(&self, maps: &mut Maps) {
        match maps.tidy() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("what was rejected is live now");
                self.recovered.send_modify(|times| *times += 1);
            }
            Err(error) => {
                maps.failures += 1;
                tracing::error!(%error, "cannot write the maps; trying again");
            }
        }
    }
}

/// The maps, and what is known of them.
struct Maps {
    reconciler: Reconciler<KernelMaps>,
    enrol: EnrolMaps,
    upkeep: Upkeep,
    enrol_warnings: Vec<String>,
    /// Verdicts that are not written yet.
    verdicts: Option<Arc<Verdicts>>,
    pin_path: PathBuf,
    started: Instant,
    /// The update that could not be written and is to be tried again.
    failed: Option<Held>,
    writes: u64,
    failures: u64,
}

impl Maps {
    /// Whether something is to be written that could not be.
    const fn is_behind(&self) -> bool {
        self.failed.is_some() || self.verdicts.is_some()
    }

    /// Writes the verdicts, if there are new ones.
    fn enrol(&mut self) {
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
    fn eject(&mut self, ejected: &Ejected) {
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
    fn refresh(&mut self) -> bool {
        // What could not be written comes with the next attempt.
        if self.failed.is_some() || !self.reconciler.is_installed() || !self.reconciler.is_due() {
            return false;
        }
        let written = self.reconciler.maps().held().and_then(|held| {
            self.failed = Some(held);
            self.install(held)
        });
        match written {
            Ok(report) => tracing::debug!(writes = report.writes, "shares have changed"),
            Err(error) => {
                self.failures += 1;
                tracing::error!(%error, "cannot write the maps; trying again");
            }
        }
        true
    }

    /// Applies changes, and says what is not live.
    fn update(&mut self, changes: Vec<Change>, held: Held) -> Outcome {
        let revision = held.revision;
        let known = self.reconciler.report().clone();
        self.reconciler.change(changes);
        self.failed = Some(held);
        match self.install(held) {
            Ok(report) => {
                tracing::info!(revision, writes = report.writes, "live");
                for warning in report.warnings.iter().filter(|it| !known.warnings.contains(it)) {
                    tracing::warn!(revision, "{warning}");
                }
                let new = report.rejections.iter().filter(|it| !known.rejections.contains(it));
                for Rejection { object, message } in new {
                    tracing::error!(revision, %object, "rejected: {message}");
                }
                // Maps that no program reads are not live; once they are read again, the control
                // plane is asked for what was not acknowledged.
                let error = detached(&self.pin_path);
                self.failed = error.is_some().then_some(held);
                Outcome { rejections: report.rejections, error }
            }
            Err(error) => {
                self.failures += 1;
                tracing::error!(revision, %error, "cannot write the maps; what they hold stays");
                Outcome { rejections: Vec::new(), error: Some(error.to_string()) }
            }
        }
    }

    /// Applies what belongs to no revision. Until the first update, and where one is to be tried
    /// again, it goes with that.
    fn health(&mut self, changes: Vec<Change>) {
        self.reconciler.change(changes);
        self.refresh();
    }

    /// Installs the world. Where something does not fit, what is no longer used is freed first.
    fn install(&mut self, held: Held) -> Result<Report, MapError> {
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
        self.writes += u64::try_from(report.writes).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Tries again what could not be written, frees what is no longer used, and gives what did
    /// not fit another try in the room. Returns whether anything rejected has become live.
    fn tidy(&mut self) -> Result<bool, MapError> {
        if let Some(held) = self.failed {
            if detached(&self.pin_path).is_some() {
                return Ok(false);
            }
            return self.install(held).map(|_| true);
        }
        let rejected = self.reconciler.report().rejections.len();
        let now = self.started.elapsed();
        self.upkeep.sweep(&self.reconciler, now)?;
        let freed = self.reconciler.retire(now)?;
        self.upkeep.tell(&self.reconciler);
        if freed == 0 || rejected == 0 {
            return Ok(false);
        }
        Ok(self.reconciler.install(stamp())?.rejections.len() < rejected)
    }
}

/// Seconds since 2025: higher at every start of an agent than at the one before.
#[must_use]
pub fn stamp() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.saturating_sub(EPOCH).as_secs()).unwrap_or(u32::MAX)
}
