//! The xDS server: the tonic shell around the stream machine of `mesh_xds`, and the registry of
//! the nodes behind the streams.

mod nodes;
mod push;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod traces;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mesh_api::resource::{AGENT_TYPES, REVISION};
use mesh_xds::ads::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer, DeltaDiscoveryRequest,
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_xds::server::StreamConfig;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub use nodes::Nodes;
pub use table::{NodeState, NodeTable, Settled};
pub use traces::Traces;

use crate::health::book::HealthBook;
use crate::metrics::Metrics;

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
};

/// The Aggregated Discovery Service.
#[derive(Clone)]
pub struct Ads {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    health: Arc<HealthBook>,
    nodes: Arc<Nodes>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
}

impl Ads {
    /// Serves the snapshots and the health of endpoints to whoever connects, until `shutdown`.
    #[must_use]
    pub fn service(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        health: Arc<HealthBook>,
        nodes: Arc<Nodes>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> AggregatedDiscoveryServiceServer<Self> {
        let ads = Self { snapshots, health, nodes, metrics, shutdown };
        AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(MAX_REQUEST)
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "state-of-the-world ADS is not served yet: use delta ADS (DeltaAggregatedResources)",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = request.remote_addr();
        let stream = stream::DeltaShell::new(self, request.into_inner(), peer);
        Ok(Response::new(Box::pin(stream.into_stream())))
    }
}
