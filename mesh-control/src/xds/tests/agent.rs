//! A node agent for tests: it takes whole pushes and answers them as told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::resource::{AGENT_TYPES, ASIDE_TYPES, HEALTH, REVISION};
use mesh_api::wire;
use mesh_xds::ads::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mesh_xds::client::{DeltaClient, Push};
use mesh_xds::server::NodeInfo;
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::{Status, Streaming};

use crate::testing::PATIENCE;

pub(super) struct Agent {
    machine: DeltaClient,
    stream: Option<Stream>,
    /// Responses that came before they were asked for.
    early: VecDeque<Push>,
}

struct Stream {
    requests: UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

/// All responses up to a commit.
pub(super) struct Whole {
    pub(super) revision: u64,
    pub(super) types: Vec<String>,
    pub(super) added: Vec<String>,
    pushes: Vec<Push>,
}

impl Agent {
    pub(super) async fn connect(to: SocketAddr, node: &str) -> Self {
        let info = NodeInfo { id: node.to_owned(), version: "test".to_owned() };
        Self::begin(DeltaClient::new(info, &AGENT_TYPES), to).await
    }

    /// One that wants to know about health as well.
    pub(super) async fn with_health(to: SocketAddr, node: &str) -> Self {
        let info = NodeInfo { id: node.to_owned(), version: "test".to_owned() };
        let types: Vec<&str> = AGENT_TYPES.into_iter().chain(ASIDE_TYPES).collect();
        Self::begin(DeltaClient::new(info, &types), to).await
    }

    async fn begin(machine: DeltaClient, to: SocketAddr) -> Self {
        let mut agent = Self { machine, stream: None, early: VecDeque::new() };
        agent.reconnect(to).await;
        agent
    }

    pub(super) async fn reconnect(&mut self, to: SocketAddr) {
        let first = self.machine.connect();
        self.stream = Some(open(to, first).await.unwrap());
    }

    pub(super) fn disconnect(&mut self) {
        self.early.clear();
        self.stream = None;
    }

    /// What the server says to a request without a node.
    pub(super) async fn without_node(to: SocketAddr) -> Status {
        let request = DeltaDiscoveryRequest {
            type_url: REVISION.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let opened = open(to, vec![request]).await;
        match opened {
            Ok(mut stream) => stream.responses.message().await.unwrap_err(),
            Err(status) => status,
        }
    }

    /// The next push, up to and with its revision.
    pub(super) async fn revision(&mut self) -> Whole {
        let mut whole =
            Whole { revision: 0, types: Vec::new(), added: Vec::new(), pushes: Vec::new() };
        loop {
            let push = self.next(|push| push.type_url != HEALTH).await;
            whole.added.extend(push.added.iter().map(|it| it.name.clone()));
            whole.types.push(push.type_url.clone());
            let last = push.type_url == REVISION;
            whole.revision = push.revision;
            whole.pushes.push(push);
            if last {
                return whole;
            }
        }
    }

    /// What changes about health next, by name, answered at once; `None`: no longer known.
    pub(super) async fn health(&mut self) -> Vec<(String, Option<wire::HealthStatus>)> {
        let push = self.next(|push| push.type_url == HEALTH).await;
        let answer = self.machine.ack(&push);
        self.send(answer);
        let added = push.added.iter().map(|it| {
            let message = wire::EndpointHealth::decode(it.body.as_slice()).unwrap();
            (it.name.clone(), Some(message.status()))
        });
        added.chain(push.removed.iter().map(|name| (name.clone(), None))).collect()
    }

    /// Whether nothing at all comes for a while.
    pub(super) async fn is_left_alone(&mut self, time: Duration) -> bool {
        let stream = self.stream.as_mut().unwrap();
        self.early.is_empty()
            && tokio::time::timeout(time, stream.responses.message()).await.is_err()
    }

    /// The next response that is wanted; others are kept.
    async fn next(&mut self, wanted: impl Fn(&Push) -> bool) -> Push {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at).unwrap();
        }
        let stream = self.stream.as_mut().unwrap();
        loop {
            let response = tokio::time::timeout(PATIENCE, stream.responses.message()).await;
            let response = response.unwrap().unwrap().unwrap();
            let push = self.machine.on_response(response).unwrap();
            if wanted(&push) {
                return push;
            }
            self.early.push_back(push);
        }
    }

    /// It is live.
    pub(super) fn ack(&mut self, whole: &Whole) {
        for push in &whole.pushes {
            let answer = self.machine.ack(push);
            self.send(answer);
        }
    }

    /// One resource is not, and so the revision is not.
    pub(super) fn reject(&mut self, whole: &Whole, resource: &str, reason: &str) {
        for push in &whole.pushes {
            let bad = push.added.iter().any(|it| it.name == resource);
            let answer = if bad || push.type_url == REVISION {
                let name = if bad { resource } else { "revision" };
                let rejected = [(name.to_owned(), reason.to_owned())];
                self.machine.nack(push, &rejected)
            } else {
                self.machine.ack(push)
            };
            self.send(answer);
        }
    }

    fn send(&self, request: DeltaDiscoveryRequest) {
        self.stream.as_ref().unwrap().requests.send(request).unwrap();
    }
}

async fn open(to: SocketAddr, first: Vec<DeltaDiscoveryRequest>) -> Result<Stream, Status> {
    let address = format!("http://{to}");
    let mut client = AggregatedDiscoveryServiceClient::connect(address).await.unwrap();
    let (requests, outgoing) = unbounded_channel();
    for request in first {
        requests.send(request).unwrap();
    }
    let outgoing = futures::stream::unfold(outgoing, |mut outgoing| async move {
        Some((outgoing.recv().await?, outgoing))
    });
    let responses = client.delta_aggregated_resources(outgoing).await?;
    Ok(Stream { requests, responses: responses.into_inner() })
}
