//! The thread that owns the maps. Everybody else asks it by message, so that writes have one
//! order and system calls do not hold up the network.

mod edges;
mod maps;
mod pace;
mod stats;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use mesh_api::model::{Health, ObjectName};
use tokio::sync::{oneshot, watch};
use tracing::Span;

use self::edges::Clients;
use self::maps::Maps;
use self::pace::Pace;
use self::stats::Shared;
pub use self::stats::Stats;
use crate::bpf::enrol::EnrolMaps;
use crate::enrol::agent::Fresh;
use crate::enrol::verdicts::Verdicts;
use crate::guard::follower::Ejected;
use crate::health::feed::Feed;
use crate::maps::kernel::KernelMaps;
use crate::maps::{Held, MapError};
use crate::programmed::Programmed;
use crate::proxy::ProxyState;
use crate::reconcile::{BackendKey, BackendNames, Called, Numbers, Reconciler};
use crate::upkeep::Upkeep;
use crate::world::Change;
use crate::xds::batch::Outcome;

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
    Update { changes: Vec<Change>, held: Held, span: Span, reply: oneshot::Sender<Outcome> },
    Health { changes: Vec<Change>, reply: Option<oneshot::Sender<()>> },
    Stats(oneshot::Sender<Result<Arc<Stats>, MapError>>),
    MovesTold(u64),
    Enrol(Arc<Verdicts>),
    EnrolNew(Fresh),
    Eject(Ejected),
    Proxy(ProxyState),
    Names(Vec<BackendKey>, oneshot::Sender<BackendNames>),
    Programmed(oneshot::Sender<Result<Programmed, MapError>>),
    AccessLog(bool),
    Taps(usize),
    Called(Numbers, oneshot::Sender<(Called, u64)>),
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

    /// Applies changes, as a part of a span; when it answers without an error, they are live.
    pub async fn update(
        &self,
        changes: Vec<Change>,
        held: Held,
        span: &Span,
    ) -> Result<Outcome, Gone> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Update { changes, held, span: span.clone(), reply };
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

    /// Reads counters and usage; they may be a second old where reading them takes long.
    pub async fn stats(&self) -> Result<Result<Arc<Stats>, MapError>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Stats(reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Whoever has to be told knows the moves of totals up to this number.
    pub fn moves_told(&self, number: u64) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::MovesTold(number)).unwrap_or_default();
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

    /// Says what is known of the node's Envoy.
    pub fn proxy(&self, proxy: ProxyState) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::Proxy(proxy)).unwrap_or_default();
    }

    /// What these backends are called.
    pub async fn names(&self, of: Vec<BackendKey>) -> Result<BackendNames, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Names(of, reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// What the maps hold and should hold; `None` before the first update.
    pub async fn programmed(&self) -> Result<Result<Programmed, MapError>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Programmed(reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    /// Has the programs tell of every connection that ends, or only of those that fail.
    pub fn access_log(&self, on: bool) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::AccessLog(on)).unwrap_or_default();
    }

    /// Has the programs tell of every connection while there are taps.
    pub fn taps(&self, open: usize) {
        // The agent is going down where nobody listens.
        self.sender.send(Request::Taps(open)).unwrap_or_default();
    }

    /// What all these are called, and how many events the kernel has lost so far.
    pub async fn called(&self, numbers: Numbers) -> Result<(Called, u64), Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Called(numbers, reply)).map_err(|_closed| Gone)?;
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
    pub fn work(
        self,
        reconciler: Reconciler<KernelMaps>,
        enrol: EnrolMaps,
        upkeep: Upkeep,
        mut feed: Feed,
        pin_path: PathBuf,
    ) {
        let mut maps = Maps::new(reconciler, enrol, upkeep, pin_path);
        let mut clients = Clients::new(&maps.reconciler);
        let mut shared = Shared::default();
        let mut pace = Pace::new(Instant::now());
        loop {
            let now = Instant::now();
            if pace.is_due(now) {
                self.tidy(&mut maps);
                maps.enrol();
                pace.tidied(Instant::now(), maps.is_behind());
            }
            feed.follow(&mut maps.reconciler, &mut maps.enrol);
            let wait = pace.wait(now);
            let wait = maps.reconciler.next_step().map_or(wait, |step| wait.min(step));
            let request = self.receiver.recv_timeout(wait);
            maps.set_time();
            match request {
                Ok(Request::Update { changes, held, span, reply }) => {
                    let outcome = span.in_scope(|| maps.update(changes, held));
                    shared.forget();
                    pace.changed(Instant::now(), maps.is_behind());
                    // The line that asked may have broken meanwhile; the maps are right anyway.
                    reply.send(outcome).unwrap_or_default();
                }
                Ok(Request::Health { changes, reply }) => {
                    if maps.health(changes) {
                        pace.changed(Instant::now(), maps.is_behind());
                    }
                    // Whoever asked may have gone, or not have waited.
                    reply.map(|reply| reply.send(())).transpose().unwrap_or_default();
                }
                Ok(Request::Stats(reply)) => {
                    let stats = shared.read(&mut maps, &mut clients);
                    // Whoever asked may have gone.
                    drop(reply.send(stats));
                }
                Ok(Request::MovesTold(number)) => maps.reconciler.moves_told(number),
                Ok(Request::Enrol(verdicts)) => {
                    maps.take_verdicts(verdicts);
                    maps.enrol();
                    if maps.is_behind() {
                        pace.failed(Instant::now());
                    }
                }
                Ok(Request::EnrolNew(fresh)) => {
                    maps.reconciler.meet(fresh.iter().map(|(id, _)| *id));
                    // They come again with all verdicts, and that is tried until it succeeds.
                    if let Err(error) = maps.enrol.add(&fresh) {
                        tracing::warn!(%error, "verdicts on new cgroups are late");
                    }
                }
                Ok(Request::Eject(ejected)) => maps.eject(&ejected),
                Ok(Request::Proxy(proxy)) => {
                    maps.reconciler.set_proxy(proxy);
                    shared.forget();
                }
                Ok(Request::Names(of, reply)) => {
                    // Whoever asked may have gone.
                    drop(reply.send(maps.reconciler.names(of)));
                }
                Ok(Request::Programmed(reply)) => {
                    // What is due belongs to what should be.
                    if maps.refresh() {
                        pace.changed(Instant::now(), maps.is_behind());
                    }
                    // Whoever asked may have gone.
                    drop(reply.send(maps.programmed()));
                }
                Ok(Request::AccessLog(on)) => {
                    if let Err(error) = maps.reconciler.maps().log_access(on) {
                        tracing::error!(%error, "the access log stays as it is");
                    }
                }
                Ok(Request::Taps(open)) => maps.tap(open),
                Ok(Request::Called(numbers, reply)) => {
                    let lost = maps.lost();
                    // Whoever asked may have gone.
                    drop(reply.send((maps.reconciler.called(numbers), lost)));
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if maps.refresh() {
                pace.changed(Instant::now(), maps.is_behind());
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

/// Seconds since 2025: higher at every start of an agent than at the one before.
#[must_use]
pub fn stamp() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.saturating_sub(EPOCH).as_secs()).unwrap_or(u32::MAX)
}
