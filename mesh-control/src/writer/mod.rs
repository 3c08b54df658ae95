//! The one writer: a thread that takes all requests that wait, decides them one after the other,
//! stores them with one fsync, publishes the new world and only then answers. Every batch is
//! atomic and has its own revision, also when it shared the fsync with others.
//!
//! A failed commit leaves open what is on the disk, so the writer refuses everything from then
//! on; reading and xDS go on with the last world that is known to be stored.

mod publish;
#[cfg(test)]
mod tests;
mod traced;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mesh_api::convert::milliseconds;
use mesh_api::model::{Endpoint, Kind, Object, ObjectRef};
use mesh_api::violation::Warning;
use mesh_telemetry::trace_span;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

pub use publish::Publisher;

use self::traced::Traced;
use crate::lease::{LeaseBook, Leases};
use crate::metrics::{Metrics, ResultLabel};
use crate::store::{self, Store, StoreError};
use crate::validate::{self, Action, Batch, Outcome, Plan, Refusal};
use crate::world::World;

/// Requests that wait for the writer; beyond it, callers wait in line.
const QUEUE: usize = 1024;
/// Most changes stored by one fsync, unless a single batch is larger.
const MAX_GROUP: usize = 10_000;

/// What became of a batch.
#[derive(Clone, Debug)]
pub struct Done {
    /// The revision that holds it; the current one where nothing changed.
    pub revision: u64,
    /// One for each change, in order.
    pub outcomes: Vec<Outcome>,
    /// What does not work yet, though it is stored.
    pub warnings: Vec<Warning>,
}

/// Why a batch is not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// It breaks rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed, now or earlier.
    #[error("{0}: nothing can be stored until the control plane is restarted")]
    Store(#[source] Arc<StoreError>),
    /// The control plane is shutting down.
    #[error("the control plane is shutting down")]
    Stopped,
}

enum Request {
    Write(Batch),
    ExpireLeases,
}

struct Job {
    request: Request,
    /// Of whoever asks.
    span: Span,
    reply: oneshot::Sender<Result<Done, WriteError>>,
}

/// How the rest of the program reaches the writer.
#[derive(Clone)]
pub struct WriterHandle {
    jobs: mpsc::Sender<Job>,
}

impl WriterHandle {
    /// Stores a batch; when this returns `Ok`, it is on the disk and published.
    pub async fn write(&self, batch: Batch) -> Result<Done, WriteError> {
        self.send(Request::Write(batch)).await
    }

    /// Deletes the endpoints whose leases are over.
    pub async fn expire_leases(&self) -> Result<Done, WriteError> {
        self.send(Request::ExpireLeases).await
    }

    async fn send(&self, request: Request) -> Result<Done, WriteError> {
        let (reply, done) = oneshot::channel();
        let sent = self.jobs.send(Job { request, span: Span::current(), reply }).await;
        if sent.is_err() {
            return Err(WriteError::Stopped);
        }
        done.await.unwrap_or(Err(WriteError::Stopped))
    }
}

/// The writer; [`Writer::run`] wants a thread of its own.
pub struct Writer {
    store: Arc<dyn Store>,
    world: Arc<World>,
    jobs: mpsc::Receiver<Job>,
    leases: Arc<LeaseBook>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    failed: Option<Arc<StoreError>>,
}

impl Writer {
    /// A writer that starts from this world, which is what `store` holds.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        world: Arc<World>,
        leases: Arc<LeaseBook>,
        publisher: Publisher,
        metrics: Arc<Metrics>,
    ) -> (Self, WriterHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let writer = Self { store, world, jobs, leases, publisher, metrics, failed: None };
        writer.sync_leases();
        (writer, WriterHandle { jobs: sender })
    }

    /// Works until the last handle is gone.
    pub fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let mut size = size_of(&first);
            let mut group = vec![first];
            while size < MAX_GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                size += size_of(&job);
                group.push(job);
            }
            self.work(group);
        }
    }

    fn work(&mut self, group: Vec<Job>) {
        if let Some(failed) = &self.failed {
            for job in group {
                self.reply(job.reply, Err(WriteError::Store(Arc::clone(failed))));
            }
            return;
        }
        let mut pending = Arc::clone(&self.world);
        let mut batches = Vec::new();
        let mut traced = Traced::default();
        let mut replies = Vec::with_capacity(group.len());
        for job in group {
            let span = trace_span!(parent: &job.span, "validate");
            let planned = span.in_scope(|| self.plan(&pending, job.request));
            let result = planned.map(|plan| {
                if plan.changes_something() {
                    batches.push(to_store(&plan));
                    pending = Arc::new(plan.world);
                    traced.note(pending.revision(), job.span);
                }
                Done {
                    revision: pending.revision(),
                    outcomes: plan.outcomes,
                    warnings: plan.warnings,
                }
            });
            replies.push((job.reply, result));
        }
        if !batches.is_empty()
            && let Err(error) = self.commit(pending, &batches, &traced)
        {
            for (_, result) in &mut replies {
                if result.is_ok() {
                    *result = Err(WriteError::Store(Arc::clone(&error)));
                }
            }
        }
        for (reply, result) in replies {
            self.reply(reply, result);
        }
    }

    fn plan(&self, world: &World, request: Request) -> Result<Plan, WriteError> {
        let now = Instant::now();
        let mut leases = self.leases.lock();
        let batch = match request {
            Request::Write(batch) => batch,
            Request::ExpireLeases => self.expired(&mut leases, world, now),
        };
        let plan = validate::plan(world, &batch)?;
        // Before the commit, so that an expiry behind this request sees the renewed lease.
        for outcome in &plan.outcomes {
            lease_of(&mut leases, outcome, now);
        }
        self.leases.announce();
        drop(leases);
        Ok(plan)
    }

    fn expired(&self, leases: &mut Leases, world: &World, now: Instant) -> Batch {
        let names = leases.take_expired(now).into_iter();
        let references = names.map(|name| ObjectRef { kind: Kind::Endpoint, name });
        let batch = Batch::delete(references.filter(|it| world.get(it).is_some()));
        for change in &batch.changes {
            tracing::info!(endpoint = %change.reference().name, "no heartbeat: removed");
            self.metrics.leases_expired.inc();
        }
        batch
    }

    fn commit(
        &mut self,
        world: Arc<World>,
        batches: &[store::Batch],
        traced: &Traced,
    ) -> Result<(), Arc<StoreError>> {
        let started = Instant::now();
        let spans = traced.each(
            |span, revision| trace_span!(parent: span, "store.commit", mesh.revision = revision),
        );
        let stored = self.store.commit(batches);
        drop(spans);
        if let Err(error) = stored {
            tracing::error!(%error, "nothing can be stored any more: restart the control plane");
            let error = Arc::new(error);
            self.failed = Some(Arc::clone(&error));
            self.publisher.store_failed();
            self.sync_leases();
            return Err(error);
        }
        let committed = Instant::now();
        let seconds = committed.duration_since(started).as_secs_f64();
        self.metrics.commit_seconds.observe(seconds);
        self.world = world;
        self.publisher.publish(&self.world, batches, traced, committed);
        self.metrics.observe_world(&self.world);
        Ok(())
    }

    fn reply(
        &self,
        to: oneshot::Sender<Result<Done, WriteError>>,
        result: Result<Done, WriteError>,
    ) {
        let label = match &result {
            Ok(done) if done.outcomes.iter().all(|it| it.action == Action::Unchanged) => {
                "unchanged"
            }
            Ok(_) => "stored",
            Err(WriteError::Refused(_)) => "refused",
            Err(WriteError::Store(_) | WriteError::Stopped) => "failed",
        };
        let counter = self.metrics.writes.get_or_create_owned(&ResultLabel::new(label));
        counter.inc();
        let leases = self.leases.lock().len();
        self.metrics.leases.set(i64::try_from(leases).unwrap_or(i64::MAX));
        if to.send(result).is_err() {
            tracing::debug!("the caller has gone before the answer");
        }
    }

    /// Makes the leases those of the world: at start, and after a failed commit.
    fn sync_leases(&self) {
        let endpoints = self.world.list(Kind::Endpoint, None);
        let leases = endpoints.filter_map(|stored| match &stored.object {
            Object::Endpoint(Endpoint { name, ttl, .. }) => Some((name.clone(), *ttl)),
            Object::Service(_) | Object::ServiceConfig(_) => None,
        });
        self.leases.lock().sync(leases, Instant::now());
        self.leases.announce();
    }
}

fn size_of(job: &Job) -> usize {
    match &job.request {
        Request::Write(batch) => batch.changes.len().max(1),
        Request::ExpireLeases => 1,
    }
}

fn lease_of(leases: &mut Leases, outcome: &Outcome, now: Instant) {
    match outcome.after.as_ref().map(|after| &after.object) {
        Some(Object::Endpoint(Endpoint { name, ttl, .. })) => leases.set(name, *ttl, now),
        None if outcome.reference.kind == Kind::Endpoint => leases.remove(&outcome.reference.name),
        Some(Object::Service(_) | Object::ServiceConfig(_)) | None => {}
    }
}

fn to_store(plan: &Plan) -> store::Batch {
    let changed = plan.outcomes.iter();
    let changed = changed.filter(|outcome| outcome.action != Action::Unchanged);
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let write = |outcome: &Outcome| store::Write {
        reference: outcome.reference.clone(),
        object: outcome.after.clone(),
        replaces: outcome.before.as_ref().map(|before| before.resource_version),
    };
    store::Batch {
        revision: plan.world.revision(),
        time_ms: time.map_or(0, milliseconds),
        writes: changed.map(write).collect(),
    }
}
