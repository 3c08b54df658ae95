//! One stream of an Envoy or gRPC client, of either variant of the protocol: the same shell as that
//! of the agents, without what only agents have. It runs inside the response body: a client that
//! does not read is not polled, and the machine merges the snapshots that it misses.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use mesh_xds::ads::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node,
};
use mesh_xds::server::{DeltaStream, Progress, ProtocolError, SotwStream, StreamConfig};
use mesh_xds::snapshot::Snapshot;
use mesh_xds::types::{CLUSTER, ENDPOINTS, PUSH_ORDER, STAGED};
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::age::Age;
use super::kind::ClientKind;
use super::{Ads, MAX_RESPONSE, Nodes};
use crate::metrics::{Metrics, SentLabel, TypeLabel};

/// What clients accept unless told otherwise, in bytes.
const USUAL_LIMIT: usize = 4 << 20;

/// How clients of a kind are served.
fn config(kind: ClientKind) -> StreamConfig {
    StreamConfig {
        max_response_bytes: MAX_RESPONSE,
        push_order: &PUSH_ORDER,
        commit_type: None,
        staged: &STAGED,
        // gRPC keeps what it was sent of endpoints, whatever becomes of the cluster.
        warmed: (kind != ClientKind::Grpc).then_some((CLUSTER, ENDPOINTS)),
    }
}

/// A variant of the protocol.
pub(super) trait Variant: Send + 'static {
    type Request: Send + 'static;
    type Response: Message;

    fn new(config: StreamConfig) -> Self;
    fn on_request(
        &mut self,
        request: Self::Request,
        latest: &Arc<Snapshot>,
    ) -> Result<Vec<Self::Response>, ProtocolError>;
    fn on_snapshot(&mut self, latest: &Arc<Snapshot>) -> Vec<Self::Response>;
    fn progress(&self) -> &Progress;
    /// Who the client is, where a request says so.
    fn node(request: &Self::Request) -> Option<&Node>;
    /// Type, nonce and error of a request.
    fn answer(request: &Self::Request) -> (&str, &str, Option<&str>);
    /// Type of a response, and how many resources are in it.
    fn content(response: &Self::Response) -> (&str, usize);
}

macro_rules! variant {
    ($machine:ty, $request:ty, $response:ty) => {
        impl Variant for $machine {
            type Request = $request;
            type Response = $response;

            fn new(config: StreamConfig) -> Self {
                Self::new(config)
            }

            fn on_request(
                &mut self,
                request: $request,
                latest: &Arc<Snapshot>,
            ) -> Result<Vec<$response>, ProtocolError> {
                self.on_request(request, latest)
            }

            fn on_snapshot(&mut self, latest: &Arc<Snapshot>) -> Vec<$response> {
                self.on_snapshot(latest)
            }

            fn progress(&self) -> &Progress {
                self.progress()
            }

            fn node(request: &$request) -> Option<&Node> {
                request.node.as_ref()
            }

            fn answer(request: &$request) -> (&str, &str, Option<&str>) {
                let error = request.error_detail.as_ref().map(|error| error.message.as_str());
                (&request.type_url, &request.response_nonce, error)
            }

            fn content(response: &$response) -> (&str, usize) {
                (&response.type_url, response.resources.len())
            }
        }
    };
}

variant!(DeltaStream, DeltaDiscoveryRequest, DeltaDiscoveryResponse);
variant!(SotwStream, DiscoveryRequest, DiscoveryResponse);

/// The stream of one client.
pub(super) struct Shell<V: Variant> {
    machine: V,
    first: Option<V::Request>,
    requests: Streaming<V::Request>,
    /// Nothing until there is something to say; so long, nothing is read either.
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    responses: VecDeque<V::Response>,
    connection: Connection,
    metrics: Arc<Metrics>,
    age: Age,
    shutdown: CancellationToken,
    ended: bool,
}

enum Event<R> {
    Request(R),
    Snapshot,
    End,
    Aged,
    Shutdown,
}

impl<V: Variant> Shell<V> {
    pub(super) fn new(
        ads: &Ads,
        kind: ClientKind,
        first: V::Request,
        requests: Streaming<V::Request>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            machine: V::new(config(kind)),
            snapshots: ads.feeds.standard(kind, V::node(&first)),
            first: Some(first),
            requests,
            responses: VecDeque::new(),
            connection: Connection::new(Arc::clone(&ads.nodes), kind, peer),
            metrics: Arc::clone(&ads.metrics),
            age: Age::new(ads.max_age),
            shutdown: ads.shutdown.clone(),
            ended: false,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<V::Response, Status>> + Send {
        futures::stream::unfold(self, |mut shell| async move {
            let item = shell.next().await?;
            Some((item, shell))
        })
    }

    async fn next(&mut self) -> Option<Result<V::Response, Status>> {
        loop {
            if let Some(response) = self.responses.pop_front() {
                self.count(&response);
                return Some(Ok(response));
            }
            if self.ended {
                return None;
            }
            match self.event().await {
                Event::Request(request) => {
                    if let Err(status) = self.on_request(request) {
                        self.ended = true;
                        return Some(Err(status));
                    }
                }
                Event::Snapshot => {
                    let latest = self.snapshots.borrow_and_update().clone();
                    let responses = latest.map(|latest| self.machine.on_snapshot(&latest));
                    self.responses.extend(responses.into_iter().flatten());
                }
                // Without an error: the client connects again at once.
                Event::End | Event::Aged => return None,
                Event::Shutdown => {
                    self.ended = true;
                    let message = "the control plane is shutting down: connect again";
                    return Some(Err(Status::unavailable(message)));
                }
            }
            self.connection.observe(self.machine.progress(), Instant::now());
        }
    }

    async fn event(&mut self) -> Event<V::Request> {
        let is_known = self.snapshots.borrow().is_some();
        if is_known && let Some(first) = self.first.take() {
            return Event::Request(first);
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Event::Shutdown,
            request = self.requests.message(), if is_known => match request {
                Ok(Some(request)) => Event::Request(request),
                Ok(None) => Event::End,
                Err(status) => {
                    tracing::debug!(%status, "stream ended");
                    Event::End
                }
            },
            changed = self.snapshots.changed() => match changed {
                Ok(()) => Event::Snapshot,
                Err(_) => Event::Shutdown,
            },
            () = self.age.reached() => Event::Aged,
        }
    }

    fn on_request(&mut self, request: V::Request) -> Result<(), Status> {
        let (type_url, nonce, error) = V::answer(&request);
        if let Some(reason) = error {
            self.metrics.nacks.get_or_create_owned(&TypeLabel::of(type_url)).inc();
            let client = self.connection.name();
            tracing::warn!(%client, r#type = type_url, reason, "rejected");
        } else if !nonce.is_empty() {
            self.metrics.acks.get_or_create_owned(&TypeLabel::of(type_url)).inc();
        }
        let latest = self.snapshots.borrow().clone();
        let Some(latest) = latest else { return Ok(()) };
        match self.machine.on_request(request, &latest) {
            Ok(responses) => {
                self.responses.extend(responses);
                Ok(())
            }
            Err(error) => {
                self.metrics.protocol_errors.inc();
                let client = self.connection.name();
                tracing::warn!(%client, %error, "stream ended: the client broke the protocol");
                Err(Status::invalid_argument(error.to_string()))
            }
        }
    }

    fn count(&self, response: &V::Response) {
        let (type_url, resources) = V::content(response);
        self.metrics.pushes.get_or_create_owned(&TypeLabel::of(type_url)).inc();
        let label = SentLabel::of(self.connection.kind, type_url);
        let resources = u64::try_from(resources).unwrap_or(u64::MAX);
        self.metrics.resources.get_or_create_owned(&label).inc_by(resources);
        let bytes = response.encoded_len();
        if bytes > USUAL_LIMIT {
            let client = self.connection.name();
            tracing::error!(
                %client,
                r#type = type_url,
                bytes,
                "a response of all there is cannot be cut and is larger than clients accept unless \
                 told otherwise ({USUAL_LIMIT} bytes): raise their limit or use delta ADS"
            );
        }
    }
}

/// One stream's part in the table of clients.
struct Connection {
    nodes: Arc<Nodes>,
    kind: ClientKind,
    stream: u64,
    peer: Option<SocketAddr>,
    id: Option<String>,
}

impl Connection {
    fn new(nodes: Arc<Nodes>, kind: ClientKind, peer: Option<SocketAddr>) -> Self {
        let stream = nodes.next_stream();
        Self { nodes, kind, stream, peer, id: None }
    }

    /// For messages.
    fn name(&self) -> String {
        match (&self.id, self.peer) {
            (Some(id), _) => id.clone(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    fn observe(&mut self, progress: &Progress, now: Instant) {
        if self.id.is_none()
            && let Some(info) = &progress.node
        {
            let kind = self.kind.as_str();
            tracing::info!(client = info.id, kind, peer = ?self.peer, "connected");
            self.id = Some(info.id.clone());
        }
        self.nodes.observe_client(self.stream, self.kind, progress, now);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = &self.id else { return };
        tracing::info!(%client, kind = self.kind.as_str(), "disconnected");
        self.nodes.client_ended(self.stream, self.kind, Instant::now());
    }
}
