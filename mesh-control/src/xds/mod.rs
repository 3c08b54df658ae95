//! The xDS server: the tonic shell around the stream machine of `mesh_xds`, and the registry of
//! the nodes behind the streams.

mod age;
mod clients;
mod csds;
mod kind;
mod loads;
mod lrs;
mod nodes;
mod push;
mod standard;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod traces;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use mesh_api::resource::{AGENT_TYPES, REVISION};
use mesh_xds::ads::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer, DeltaDiscoveryRequest,
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node,
};
use mesh_xds::server::{DeltaStream, SotwStream, StreamConfig};
use mesh_xds::snapshot::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub use clients::{ClientState, ClientTable, SyncState, TypeState};
pub use csds::Csds;
pub use kind::ClientKind;
pub use loads::LoadMetrics;
pub use lrs::Lrs;
pub use mesh_xds::lrs::Load;
pub use nodes::Nodes;
pub use table::{NodeState, NodeTable, Settled};
pub use traces::Traces;

use crate::health::book::HealthBook;
use crate::metrics::Metrics;
use crate::proxy::ProxyBook;

/// Responses are cut below this; clients accept 4 MiB unless told otherwise.
const MAX_RESPONSE: usize = 2 << 20;
/// Largest request: a reconnecting agent names every resource that it has, with its version.
const MAX_REQUEST: usize = 32 << 20;

/// How agents are served.
const AGENT_STREAM: StreamConfig = StreamConfig {
    max_response_bytes: MAX_RESPONSE,
    push_order: &AGENT_TYPES,
    commit_type: Some(REVISION),
    staged: &[],
    warmed: None,
};

/// What each kind of client is served: newer snapshots of the same mesh, in its own words.
#[derive(Clone, Debug)]
pub struct Feeds {
    /// For node agents.
    pub agents: watch::Receiver<Arc<Snapshot>>,
    /// For Envoy and gRPC clients; nothing until the health of endpoints is known, so that nobody is
    /// told of endpoints that fail.
    pub proxies: Arc<ProxyBook>,
}

impl Feeds {
    /// What a client other than an agent is served.
    fn standard(
        &self,
        kind: ClientKind,
        node: Option<&Node>,
    ) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.proxies.follow(kind::audience(kind, node))
    }
}

/// The Aggregated Discovery Service.
#[derive(Clone)]
pub struct Ads {
    feeds: Feeds,
    health: Arc<HealthBook>,
    nodes: Arc<Nodes>,
    metrics: Arc<Metrics>,
    max_age: Duration,
    shutdown: CancellationToken,
}

impl Ads {
    /// Serves the snapshots and the health of endpoints to whoever connects, until `shutdown`. A
    /// stream is ended when it is `max_age` old, or up to a tenth older.
    #[must_use]
    pub fn service(
        feeds: Feeds,
        health: Arc<HealthBook>,
        nodes: Arc<Nodes>,
        metrics: Arc<Metrics>,
        max_age: Duration,
        shutdown: CancellationToken,
    ) -> AggregatedDiscoveryServiceServer<Self> {
        let ads = Self { feeds, health, nodes, metrics, max_age, shutdown };
        AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(MAX_REQUEST)
    }

    /// The first request, which says who the client is; `None` when there is none to come.
    async fn first<R>(&self, requests: &mut Streaming<R>) -> Option<R> {
        let age = tokio::time::sleep(self.max_age);
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            () = age => None,
            first = requests.message() => first.ok().flatten(),
        }
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream that has to wait to know what it is.
fn later<T: Send + 'static>(
    responses: impl Future<Output = Responses<T>> + Send + 'static,
) -> Response<Responses<T>> {
    Response::new(responses.flatten_stream().boxed())
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (ads, peer) = (self.clone(), request.remote_addr());
        let mut requests = request.into_inner();
        Ok(later(async move {
            let Some(first) = ads.first(&mut requests).await else {
                return futures::stream::empty().boxed();
            };
            let kind = ClientKind::of(first.node.as_ref(), &first.type_url, &first.resource_names);
            if kind == ClientKind::Agent {
                let message =
                    "types of agents are served over delta ADS (DeltaAggregatedResources)";
                let error = Err(Status::unimplemented(message));
                return futures::stream::iter([error]).boxed();
            }
            let shell = standard::Shell::<SotwStream>::new(&ads, kind, first, requests, peer);
            shell.into_stream().boxed()
        }))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (ads, peer) = (self.clone(), request.remote_addr());
        let mut requests = request.into_inner();
        Ok(later(async move {
            let Some(first) = ads.first(&mut requests).await else {
                return futures::stream::empty().boxed();
            };
            let names = &first.resource_names_subscribe;
            match ClientKind::of(first.node.as_ref(), &first.type_url, names) {
                ClientKind::Agent => {
                    stream::DeltaShell::new(&ads, first, requests, peer).into_stream().boxed()
                }
                kind @ (ClientKind::Envoy | ClientKind::Grpc) => {
                    standard::Shell::<DeltaStream>::new(&ads, kind, first, requests, peer)
                        .into_stream()
                        .boxed()
                }
            }
        }))
    }
}
