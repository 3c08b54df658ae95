//! Talks to the control plane: connects, with backoff; hands complete batches to the worker;
//! answers when the maps hold them. All decisions are in `mesh_xds::client` and `batch`.

use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use mesh_api::convert::milliseconds;
use mesh_api::resource;
use mesh_telemetry::{span, trace_span};
use mesh_xds::ads::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mesh_xds::backoff::Backoff;
use mesh_xds::client::{DeltaClient, Push};
use mesh_xds::server::NodeInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::batch::Batch;
use super::health;
use super::last_good::Changes;
use super::trace::Receiving;
use crate::maps::Held;
use crate::memory;
use crate::worker::Worker;

/// How the line is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Whether a stream is open.
    pub connected: bool,
    /// Whether this stream has said anything about health: not while the control plane warms up,
    /// and never where it is too old to know of health.
    pub health: bool,
    /// Why the last one ended; empty before that.
    pub error: String,
    /// Highest revision that is live in the maps and acknowledged.
    pub live_revision: u64,
    /// Whether this agent has had a complete state from the control plane.
    pub synced: bool,
    /// How many streams there have been.
    pub streams: u64,
}

impl Line {
    /// Whether the control plane decides about health. Otherwise this node's own checks do.
    #[must_use]
    pub const fn decides_health(&self) -> bool {
        self.connected && self.health
    }

    /// Returns when there is another stream than the one with this number. Never, where nobody opens
    /// any.
    pub async fn another(line: &mut watch::Receiver<Self>, than: u64) {
        if line.wait_for(|line| line.connected && line.streams != than).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn open(&mut self) {
        self.connected = true;
        self.health = false;
        self.streams += 1;
        self.error.clear();
    }

    fn end(&mut self, error: String) {
        self.connected = false;
        self.health = false;
        self.error = error;
    }
}

/// Everything the line needs.
#[derive(Debug)]
pub struct Client {
    /// Where the control plane is.
    pub endpoint: Endpoint,
    /// The protocol.
    pub machine: DeltaClient,
    /// Number of the last update.
    pub commit: u64,
    /// Who applies it.
    pub worker: Worker,
    /// Where to say how the line is.
    pub line: watch::Sender<Line>,
    /// Where to say what is new, for the copy on disk.
    pub save: Sender<Changes>,
    /// Who wants to know what is held.
    pub asked: mpsc::UnboundedReceiver<oneshot::Sender<Known>>,
}

/// What the node holds.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Number of the update that it is of.
    pub commit: u64,
    /// Type, name and version of each resource.
    pub resources: Vec<(String, String, String)>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    Connect(#[source] tonic::transport::Error),
    #[error("{0}")]
    Status(#[source] Box<tonic::Status>),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("{0}")]
    Malformed(#[source] mesh_xds::client::Rejected),
    #[error("what was rejected is live now, and is asked for again")]
    Recovered,
    #[error("the worker has ended")]
    Worker,
}

/// A machine that knows nothing yet.
#[must_use]
pub fn machine(node: &str) -> DeltaClient {
    let node = NodeInfo { id: node.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let types = resource::AGENT_TYPES.into_iter().chain(resource::ASIDE_TYPES);
    DeltaClient::new(node, &types.collect::<Vec<_>>())
}

impl Client {
    /// Keeps a stream open for ever; returns only when the worker has ended.
    pub async fn run(mut self, random01: impl Fn() -> f64 + Send) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 2.0);
        loop {
            let error = self.stream(&mut backoff).await;
            if matches!(error, StreamError::Worker) {
                return;
            }
            let text = describe(&error);
            self.line.send_modify(|line| {
                if line.connected || line.error != text {
                    tracing::warn!(error = %text, "no stream to the control plane; the maps keep serving");
                }
                line.end(text);
            });
            tokio::time::sleep(backoff.next(random01())).await;
        }
    }

    async fn stream(&mut self, backoff: &mut Backoff) -> StreamError {
        match self.try_stream(backoff).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn try_stream(
        &mut self,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, StreamError> {
        let channel = self.endpoint.connect().await.map_err(StreamError::Connect)?;
        let mut client: AggregatedDiscoveryServiceClient<Channel> =
            AggregatedDiscoveryServiceClient::new(channel)
                .max_decoding_message_size(mesh_api::MAX_MESSAGE);
        let requests = self.machine.connect();
        let (sender, receiver) = mpsc::channel(64);
        for request in requests {
            send(&sender, request).await?;
        }
        let status = |status| StreamError::Status(Box::new(status));
        let mut responses = client
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .map_err(status)?
            .into_inner();
        tracing::info!(control = %self.endpoint.uri(), "connected to the control plane");
        self.line.send_modify(Line::open);
        let mut batch = Batch::default();
        let mut receiving = None;
        // Whether this stream has said anything about health.
        let mut answered = false;
        let mut recoveries = self.worker.recoveries();
        loop {
            let response = tokio::select! {
                response = responses.message() => response,
                // A new stream brings again what this one rejected.
                Ok(()) = recoveries.changed() => return Err(StreamError::Recovered),
                Some(reply) = self.asked.recv() => {
                    // Whoever asked may have gone.
                    drop(reply.send(self.known()));
                    continue;
                }
            };
            let response = response.map_err(status)?.ok_or(StreamError::Closed)?;
            let push = match self.machine.on_response(response) {
                Ok(push) => push,
                Err(rejected) => {
                    send(&sender, (*rejected.request).clone()).await?;
                    drain(sender, &mut responses).await;
                    return Err(StreamError::Malformed(rejected));
                }
            };
            if push.type_url == resource::HEALTH {
                let first = !std::mem::replace(&mut answered, true);
                self.health(push, first, &sender).await?;
                continue;
            }
            let begun: &mut Receiving = receiving.get_or_insert_with(Receiving::begin);
            begun.look_at(&push);
            if let Some(revision) = batch.add(push) {
                let begun = receiving.take().unwrap_or_else(Receiving::begin);
                self.commit(std::mem::take(&mut batch), revision, begun, &sender).await?;
                backoff.reset();
            }
        }
    }

    fn known(&self) -> Known {
        let known = self.machine.known();
        let owned = known.map(|(url, name, version)| (url.into(), name.into(), version.into()));
        Known { commit: self.commit, resources: owned.collect() }
    }

    /// Has what is said of health applied, then answers it. Neither waits for the push that is
    /// being collected nor ends it, and no revision, commit or line is concerned.
    async fn health(
        &mut self,
        push: Push,
        first: bool,
        sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), StreamError> {
        let mut pushed = health::read(push);
        // The control plane sends what differs from what it said before the line broke. The world
        // may differ more: meanwhile the node went by its own checks.
        let mut changes = if first { health::said(&self.machine) } else { Vec::new() };
        changes.append(&mut pushed.changes);
        tracing::debug!(changes = changes.len(), "health");
        if first {
            // Before the worker hears of it: what the node finds itself comes to the worker ahead
            // of this, or not at all.
            self.line.send_modify(|line| line.health = true);
        }
        self.worker.health(changes).await.map_err(|_gone| StreamError::Worker)?;
        let answer = pushed.answer(&mut self.machine);
        if self.save.send(Changes::new(None, answer.accepted, answer.removed)).is_err() {
            tracing::error!("health is no longer saved: the thread for it has ended");
        }
        send(sender, answer.request).await
    }

    /// Has the batch applied, then answers it.
    async fn commit(
        &mut self,
        mut batch: Batch,
        revision: u64,
        begun: Receiving,
        sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), StreamError> {
        let changes = batch.take_changes();
        let count = changes.len();
        self.commit = self.commit.saturating_add(1).max(unix_ms());
        let held = Held { revision, commit: self.commit };
        let outcome = self
            .worker
            .update(changes, held, &begun.span)
            .await
            .map_err(|_gone| StreamError::Worker)?;
        // From the first message of the push; `bench scale` reads this line.
        let took_us = u64::try_from(begun.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(revision, changes = count, took_us, "applied");
        begun.applied(count, &outcome);
        // Known before it is answered: should the stream break now, the next one claims what the
        // world has.
        let answers = batch.answer(&mut self.machine, &outcome);
        if self.save.send(Changes::new(held, answers.accepted, answers.removed)).is_err() {
            tracing::error!("the last good state is no longer saved: its thread has ended");
        }
        let live = outcome.rejections.is_empty() && outcome.error.is_none();
        self.line.send_modify(|line| {
            line.synced |= outcome.error.is_none();
            if live {
                line.live_revision = revision;
            }
        });
        let answering = trace_span!(parent: &begun.span, "xds.ack");
        for request in answers.requests {
            send(sender, request).await?;
        }
        drop(answering);
        span::end(&begun.span);
        if count >= memory::LARGE {
            memory::give_back();
        }
        Ok(())
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    milliseconds(now)
}

/// Ends our side and lets the other end its own, so that the last answer arrives.
async fn drain(
    sender: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: &mut tonic::Streaming<DeltaDiscoveryResponse>,
) {
    drop(sender);
    let rest = async { while let Ok(Some(_)) = responses.message().await {} };
    // Whoever does not end within the time is cut off.
    tokio::time::timeout(Duration::from_secs(1), rest).await.unwrap_or_default();
}

async fn send(
    sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), StreamError> {
    sender.send(request).await.map_err(|_closed| StreamError::Closed)
}

/// The error with its causes; tonic's own text is just "transport error".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
