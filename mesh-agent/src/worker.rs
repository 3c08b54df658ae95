//! The thread that owns the maps. Everybody else asks it by message, so that writes have one
//! order and system calls do not hold up the network.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use mesh_api::model::ObjectName;
use mesh_common::counter::ServiceCounters;
use tokio::sync::{oneshot, watch};

use crate::compile::{Limits, Rejection};
use crate::maps::kernel::KernelMaps;
use crate::maps::{MapError, MapStore as _};
use crate::reconcile::{Reconciler, Report, Totals};
use crate::world::Change;
use crate::xds::batch::Outcome;

/// How long nothing must happen before the worker frees what is no longer used; a grace period
/// takes some milliseconds, which must not delay the next update.
const IDLE: Duration = Duration::from_millis(100);
/// After how many updates without such a pause it does so all the same.
const MOST_UNTIDY: u32 = 64;
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
    Update { changes: Vec<Change>, revision: u64, reply: oneshot::Sender<Outcome> },
    Stats(oneshot::Sender<Result<Stats, MapError>>),
    Stop,
}

/// What the worker knows about the maps.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Connections by who is counted.
    pub totals: Totals,
    /// Connections that no backend could take, by service.
    pub without_backend: BTreeMap<ObjectName, ServiceCounters>,
    /// Exits of the programs by reason.
    pub reasons: Vec<(&'static str, u64)>,
    /// Map name, entries used, entries possible.
    pub usage: Vec<(&'static str, u64, u64)>,
    /// What is rejected now.
    pub rejections: Vec<Rejection>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Writes to the maps since the start.
    pub writes: u64,
    /// Times the maps could not be written.
    pub failures: u64,
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
        self.recovered.clone()
    }

    /// Applies changes; when it answers without an error, they are live.
    pub async fn update(&self, changes: Vec<Change>, revision: u64) -> Result<Outcome, Gone> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Update { changes, revision, reply };
        self.sender.send(request).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Reads counters and usage.
    pub async fn stats(&self) -> Result<Result<Stats, MapError>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Stats(reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
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
    pub fn work(self, mut reconciler: Reconciler<KernelMaps>) {
        let mut counts = Counts::default();
        let mut untidy = true;
        let mut updates = 0;
        loop {
            if updates == MOST_UNTIDY {
                (untidy, updates) = (false, 0);
                self.tidy(&mut reconciler, &mut counts);
            }
            let wait = if untidy { IDLE } else { LEFTOVERS };
            match self.receiver.recv_timeout(wait) {
                Ok(Request::Update { changes, revision, reply }) => {
                    let outcome = update(&mut reconciler, changes, revision, &mut counts);
                    untidy = true;
                    updates += 1;
                    // The line that asked may have broken meanwhile; the maps are right anyway.
                    reply.send(outcome).unwrap_or_default();
                }
                Ok(Request::Stats(reply)) => {
                    let stats = stats(&reconciler, &counts);
                    // Whoever asked may have gone.
                    drop(reply.send(stats));
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    (untidy, updates) = (false, 0);
                    self.tidy(&mut reconciler, &mut counts);
                }
            }
        }
    }

    fn tidy(&self, reconciler: &mut Reconciler<KernelMaps>, counts: &mut Counts) {
        match tidy(reconciler) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("what did not fit is live now");
                self.recovered.send_modify(|times| *times += 1);
            }
            Err(error) => {
                counts.failures += 1;
                tracing::error!(%error, "cannot free unused map entries; trying again");
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    writes: u64,
    failures: u64,
}

/// Applies changes and records the revision.
fn update(
    reconciler: &mut Reconciler<KernelMaps>,
    changes: Vec<Change>,
    revision: u64,
    counts: &mut Counts,
) -> Outcome {
    reconciler.change(changes);
    match install(reconciler, revision) {
        Ok(report) => {
            counts.writes += u64::try_from(report.writes).unwrap_or(u64::MAX);
            tracing::info!(revision, writes = report.writes, "live");
            for warning in &report.warnings {
                tracing::warn!(revision, "{warning}");
            }
            for Rejection { object, message } in &report.rejections {
                tracing::error!(revision, %object, "rejected: {message}");
            }
            Outcome { rejections: report.rejections, error: None }
        }
        Err(error) => {
            counts.failures += 1;
            tracing::error!(revision, %error, "cannot write the maps; what they hold stays");
            Outcome { rejections: Vec::new(), error: Some(error.to_string()) }
        }
    }
}

/// Installs the world. Where something does not fit, what is no longer used is freed first.
fn install(reconciler: &mut Reconciler<KernelMaps>, revision: u64) -> Result<Report, MapError> {
    let mut report = reconciler.install(stamp())?.clone();
    if !report.rejections.is_empty() && reconciler.retire()? > 0 {
        let again = reconciler.install(stamp())?;
        report = Report { writes: report.writes + again.writes, ..again.clone() };
    }
    reconciler.set_revision(revision)?;
    Ok(report)
}

/// Frees what is no longer used, and gives what did not fit another try in the room. Returns
/// whether anything rejected has become live.
fn tidy(reconciler: &mut Reconciler<KernelMaps>) -> Result<bool, MapError> {
    let rejected = reconciler.report().rejections.len();
    if reconciler.retire()? == 0 || rejected == 0 {
        return Ok(false);
    }
    Ok(reconciler.install(stamp())?.rejections.len() < rejected)
}

/// Seconds since 2025: higher at every start of an agent than at the one before.
#[must_use]
pub fn stamp() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.saturating_sub(EPOCH).as_secs()).unwrap_or(u32::MAX)
}

fn stats(reconciler: &Reconciler<KernelMaps>, counts: &Counts) -> Result<Stats, MapError> {
    let maps = reconciler.maps();
    let mut without_backend: BTreeMap<ObjectName, ServiceCounters> = BTreeMap::new();
    for (index, (name, _)) in &reconciler.names().services {
        let total = without_backend.entry(name.clone()).or_default();
        *total = total.plus(maps.service_counters(*index)?);
    }
    let report = reconciler.report();
    Ok(Stats {
        totals: reconciler.totals()?,
        without_backend,
        reasons: maps.reasons()?,
        usage: usage(reconciler.actual(), maps.limits()),
        rejections: report.rejections.clone(),
        warnings: report.warnings.clone(),
        writes: counts.writes,
        failures: counts.failures,
    })
}

fn usage(image: &crate::image::MapImage, limits: Limits) -> Vec<(&'static str, u64, u64)> {
    use mesh_common::names;

    let entry = |map, used: usize, limit: u32| {
        (map, u64::try_from(used).unwrap_or(u64::MAX), u64::from(limit))
    };
    vec![
        entry(names::FRONTENDS, image.frontends.len(), limits.frontends),
        entry(names::SERVICES, image.services.len(), limits.services),
        entry(names::SLOTS, image.slots.len(), limits.slots),
        entry(names::BACKENDS, image.backends.len(), limits.backends),
    ]
}
