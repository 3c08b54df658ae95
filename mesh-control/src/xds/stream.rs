//! One delta stream: bytes in, snapshots in, the machine decides, responses out. It runs inside
//! the response body: a client that does not read is not polled, so nothing piles up for it, and
//! the machine merges the snapshots that it misses. Dropped with the connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use mesh_api::resource::{ASIDE_TYPES, HEALTH};
use mesh_xds::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_xds::server::Lanes;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::age::Age;
use super::nodes::Connection;
use super::push::PushSpans;
use super::{AGENT_STREAM, Ads, ClientKind, Nodes};
use crate::health::book::HealthBook;
use crate::metrics::{Metrics, SentLabel, TypeLabel};

pub(super) struct DeltaShell {
    machine: Lanes,
    first: Option<DeltaDiscoveryRequest>,
    requests: Streaming<DeltaDiscoveryRequest>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Nothing until the warm-up of the health is over.
    statuses: watch::Receiver<Option<Arc<Snapshot>>>,
    health: Arc<HealthBook>,
    responses: VecDeque<DeltaDiscoveryResponse>,
    connection: Connection,
    nodes: Arc<Nodes>,
    pushes: PushSpans,
    metrics: Arc<Metrics>,
    age: Age,
    shutdown: CancellationToken,
    ended: bool,
}

enum Event {
    Request(Box<DeltaDiscoveryRequest>),
    Snapshot,
    Health,
    End,
    Aged,
    Shutdown,
}

impl DeltaShell {
    pub(super) fn new(
        ads: &Ads,
        first: DeltaDiscoveryRequest,
        requests: Streaming<DeltaDiscoveryRequest>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            machine: Lanes::new(AGENT_STREAM, &ASIDE_TYPES),
            first: Some(first),
            requests,
            snapshots: ads.feeds.agents.clone(),
            statuses: ads.health.snapshots(),
            health: Arc::clone(&ads.health),
            responses: VecDeque::new(),
            connection: Connection::new(Arc::clone(&ads.nodes), peer),
            nodes: Arc::clone(&ads.nodes),
            pushes: PushSpans::default(),
            metrics: Arc::clone(&ads.metrics),
            age: Age::new(ads.max_age),
            shutdown: ads.shutdown.clone(),
            ended: false,
        }
    }

    pub(super) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send {
        futures::stream::unfold(self, |mut shell| async move {
            let item = shell.next().await?;
            Some((item, shell))
        })
    }

    async fn next(&mut self) -> Option<Result<DeltaDiscoveryResponse, Status>> {
        loop {
            if let Some(response) = self.responses.pop_front() {
                let label = TypeLabel::of(&response.type_url);
                self.metrics.pushes.get_or_create_owned(&label).inc();
                let label = SentLabel::of(ClientKind::Agent, &response.type_url);
                let resources = u64::try_from(response.resources.len()).unwrap_or(u64::MAX);
                self.metrics.resources.get_or_create_owned(&label).inc_by(resources);
                return Some(Ok(response));
            }
            if self.ended {
                return None;
            }
            match self.event().await {
                Event::Request(request) => {
                    if let Err(status) = self.on_request(*request) {
                        self.ended = true;
                        return Some(Err(status));
                    }
                }
                Event::Snapshot => {
                    let latest = Arc::clone(&self.snapshots.borrow_and_update());
                    let responses = self.machine.on_snapshot(&latest);
                    self.push(responses);
                }
                Event::Health => {
                    let latest = self.statuses.borrow_and_update().clone();
                    if let Some(latest) = latest {
                        self.responses.extend(self.machine.on_aside(&latest));
                    }
                }
                // Without an error: the agent connects again.
                Event::End | Event::Aged => return None,
                Event::Shutdown => {
                    self.ended = true;
                    let message = "the control plane is shutting down: connect again";
                    return Some(Err(Status::unavailable(message)));
                }
            }
            let progress = self.machine.progress();
            self.connection.observe(progress, Instant::now());
        }
    }

    async fn event(&mut self) -> Event {
        if let Some(first) = self.first.take() {
            return Event::Request(Box::new(first));
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Event::Shutdown,
            request = self.requests.message() => match request {
                Ok(Some(request)) => Event::Request(Box::new(request)),
                Ok(None) => Event::End,
                Err(status) => {
                    tracing::debug!(%status, "stream ended");
                    Event::End
                }
            },
            changed = self.statuses.changed() => match changed {
                Ok(()) => Event::Health,
                Err(_) => Event::Shutdown,
            },
            changed = self.snapshots.changed() => match changed {
                Ok(()) => Event::Snapshot,
                Err(_) => Event::Shutdown,
            },
            () = self.age.reached() => Event::Aged,
        }
    }

    fn push(&mut self, mut responses: Vec<DeltaDiscoveryResponse>) {
        self.pushes.sending(&mut responses, self.machine.progress(), &self.nodes);
        self.responses.extend(responses);
    }

    fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if let Some(error) = &request.error_detail {
            let label = TypeLabel::of(&request.type_url);
            self.metrics.nacks.get_or_create_owned(&label).inc();
            let peer = self.connection.name();
            tracing::warn!(%peer, r#type = request.type_url, reason = error.message, "rejected");
        } else if !request.response_nonce.is_empty() {
            self.metrics.acks.get_or_create_owned(&TypeLabel::of(&request.type_url)).inc();
        }
        self.pushes.answered(&request);
        if request.type_url == HEALTH {
            self.health.recall(&request.initial_resource_versions, Instant::now());
        }
        let latest = Arc::clone(&self.snapshots.borrow());
        let statuses = self.statuses.borrow().clone();
        match self.machine.on_request(request, &latest, statuses.as_ref()) {
            Ok(responses) => {
                self.push(responses);
                Ok(())
            }
            Err(error) => {
                self.metrics.protocol_errors.inc();
                let peer = self.connection.name();
                tracing::warn!(%peer, %error, "stream ended: the client broke the protocol");
                Err(Status::invalid_argument(error.to_string()))
            }
        }
    }
}
