//! A node as the control plane sees it: subscribes, and answers as it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mesh_api::resource::{AGENT_TYPES, REVISION, SERVICE_CONFIG};
use mesh_xds::ads::{AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest};
use mesh_xds::client::{DeltaClient, Push};
use mesh_xds::server::NodeInfo;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedSender;
use tokio_stream::wrappers::UnboundedReceiverStream;

const ACCEPT: u8 = 0;
const REFUSE: u8 = 1;
const SLEEP: u8 = 2;

/// Ends when it is dropped.
pub(crate) struct Node {
    mood: Arc<AtomicU8>,
    task: tokio::task::JoinHandle<()>,
}

impl Node {
    pub(crate) fn start(runtime: &Runtime, server: &str, name: &str) -> Self {
        let mood = Arc::new(AtomicU8::new(ACCEPT));
        let node = NodeInfo { id: name.to_owned(), version: "9.9.9".to_owned() };
        let machine = DeltaClient::new(node, &AGENT_TYPES);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let task = runtime.spawn(stream(machine, server.to_owned(), Arc::clone(&mood), ready));
        is_ready.recv().expect("the first push");
        Self { mood, task }
    }

    /// From now on service configs are refused.
    pub(crate) fn refuse(&self) {
        self.mood.store(REFUSE, Ordering::SeqCst);
    }

    /// From now on nothing is answered.
    pub(crate) fn sleep(&self) {
        self.mood.store(SLEEP, Ordering::SeqCst);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn stream(
    mut machine: DeltaClient,
    server: String,
    mood: Arc<AtomicU8>,
    ready: std::sync::mpsc::Sender<()>,
) {
    let client = AggregatedDiscoveryServiceClient::connect(server).await;
    let (requests, receiver) = tokio::sync::mpsc::unbounded_channel();
    for request in machine.connect() {
        requests.send(request).expect("open");
    }
    let mut responses = client
        .expect("connected")
        .delta_aggregated_resources(UnboundedReceiverStream::new(receiver))
        .await
        .expect("a stream")
        .into_inner();
    let mut batch = Vec::new();
    while let Ok(Some(response)) = responses.message().await {
        let push = machine.on_response(response).expect("well-formed");
        let last = push.type_url == REVISION;
        batch.push(push);
        if last && mood.load(Ordering::SeqCst) != SLEEP {
            let refuse = mood.load(Ordering::SeqCst) == REFUSE;
            answer(&mut machine, std::mem::take(&mut batch), refuse, &requests);
            // Nobody listens after the first.
            ready.send(()).ok();
        }
    }
}

fn answer(
    machine: &mut DeltaClient,
    batch: Vec<Push>,
    refuse: bool,
    requests: &UnboundedSender<DeltaDiscoveryRequest>,
) {
    for push in batch {
        let refused = refuse && [SERVICE_CONFIG, REVISION].contains(&push.type_url.as_str());
        let request = if refused {
            let names = push.added.iter().map(|resource| resource.name.clone());
            let reasons: Vec<_> = names.map(|name| (name, "no room in the map".into())).collect();
            machine.nack(&push, &reasons)
        } else {
            machine.ack(&push)
        };
        requests.send(request).expect("open");
    }
}
