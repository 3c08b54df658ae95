//! The Client Status Discovery Service: the table of Envoy and gRPC clients, for the tools of others.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use mesh_xds::csds::{
    self, ClientConfig, ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
    ClientStatusRequest, ClientStatusResponse, Query,
};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{ClientState, Nodes, SyncState};

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// The service.
#[derive(Clone, Debug)]
pub struct Csds {
    nodes: Arc<Nodes>,
    shutdown: CancellationToken,
}

impl Csds {
    /// Tells of these clients, until `shutdown`.
    #[must_use]
    pub fn service(
        nodes: Arc<Nodes>,
        shutdown: CancellationToken,
    ) -> ClientStatusDiscoveryServiceServer<Self> {
        ClientStatusDiscoveryServiceServer::new(Self { nodes, shutdown })
    }

    fn answer(&self, request: ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
        let query = Query::of(request);
        let query = query.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let clients: Vec<ClientState> = {
            let table = self.nodes.clients();
            let clients = table.clients().into_iter();
            clients.filter(|it| it.connected && query.covers(&it.id)).cloned().collect()
        };
        let mut bytes = 0_usize;
        let config = clients.iter().map(|state| {
            let config = config(state, query.contents);
            bytes = bytes.saturating_add(config.encoded_len());
            if bytes > MAX_ANSWER {
                let text = "the answer would be too large: say which clients with node_matchers, \
                            or leave contents out with exclude_resource_contents";
                return Err(Status::resource_exhausted(text));
            }
            Ok(config)
        });
        Ok(ClientStatusResponse { config: config.collect::<Result<_, _>>()? })
    }
}

fn config(state: &ClientState, contents: bool) -> ClientConfig {
    let mut config = csds::client(&state.id, &state.node, &state.version);
    for (type_url, held) in &state.held {
        let of_type = state.types.get(type_url);
        // What is not refused of a type has been taken over.
        let synced =
            of_type.is_some_and(|it| matches!(it.state, SyncState::Synced | SyncState::Rejected));
        for (name, resource) in held.resources() {
            csds::add_sent(&mut config, (type_url, name), resource, synced, contents);
        }
    }
    for refused in &state.rejections {
        csds::add_refused(&mut config, refused);
    }
    config
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for Csds {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let csds = self.clone();
        let stop = self.shutdown.clone().cancelled_owned();
        let answers = request.into_inner().map(move |asked| csds.answer(asked?)).take_until(stop);
        Ok(Response::new(answers.boxed()))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        self.answer(request.into_inner()).map(Response::new)
    }
}
