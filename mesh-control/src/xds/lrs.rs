//! The Load Reporting Service: asks Envoy and gRPC clients for reports, and takes them in.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use mesh_xds::lrs::{
    self, LoadReportingService, LoadReportingServiceServer, LoadStatsRequest, LoadStatsResponse,
};
use mesh_xds::snapshot::Snapshot;
use mesh_xds::types::CLUSTER;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::age::Age;
use super::kind::ClientKind;
use super::loads::Before;
use super::{Feeds, MAX_REQUEST};
use crate::metrics::Metrics;

/// The service.
#[derive(Clone, Debug)]
pub struct Lrs {
    feeds: Feeds,
    metrics: Arc<Metrics>,
    interval: Duration,
    max_age: Duration,
    shutdown: CancellationToken,
}

impl Lrs {
    /// Asks for a report each `interval`, of what these feeds have. A stream ends when it is
    /// `max_age` old, or up to a tenth older, and at the `shutdown`.
    #[must_use]
    pub fn service(
        feeds: Feeds,
        metrics: Arc<Metrics>,
        interval: Duration,
        max_age: Duration,
        shutdown: CancellationToken,
    ) -> LoadReportingServiceServer<Self> {
        let lrs = Self { feeds, metrics, interval, max_age, shutdown };
        LoadReportingServiceServer::new(lrs).max_decoding_message_size(MAX_REQUEST)
    }
}

/// One client's stream.
struct Shell {
    requests: Streaming<LoadStatsRequest>,
    lrs: Lrs,
    age: Age,
    client: Option<Client>,
}

/// Who it is, from the first request on.
struct Client {
    kind: ClientKind,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What it was asked for by name; `None`: for everything.
    asked: Option<BTreeSet<String>>,
    before: Before,
    metrics: Arc<Metrics>,
}

impl Client {
    fn clusters(&self) -> BTreeSet<String> {
        let latest = self.snapshots.borrow();
        let clusters = latest.as_ref().and_then(|it| it.resources(CLUSTER));
        clusters.into_iter().flat_map(|it| it.iter()).map(|(name, _)| name.to_owned()).collect()
    }

    fn reported(&mut self, report: &LoadStatsRequest) {
        let latest = self.snapshots.borrow().clone();
        let is_ours =
            |cluster: &str| latest.as_ref().is_some_and(|it| it.get(CLUSTER, cluster).is_some());
        let loads = lrs::by_service(report, is_ours);
        self.metrics.loads.reported(self.kind, &loads, &mut self.before);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.metrics.loads.ended(self.kind, &mut self.before);
    }
}

impl Shell {
    async fn next(&mut self) -> Option<LoadStatsResponse> {
        loop {
            let by_name = self.client.as_mut().filter(|it| it.asked.is_some());
            let changed = async {
                match by_name {
                    Some(client) => client.snapshots.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let request = tokio::select! {
                () = self.lrs.shutdown.cancelled() => return None,
                () = self.age.reached() => return None,
                request = self.requests.message() => Some(request.ok().flatten()?),
                goes_on = changed => if goes_on { None } else { return None },
            };
            let answer = match (request, &mut self.client) {
                (Some(report), Some(client)) => {
                    client.reported(&report);
                    None
                }
                (Some(first), None) => Some(self.first(&first)),
                (None, _) => self.ask_anew(),
            };
            if answer.is_some() {
                return answer;
            }
        }
    }

    fn first(&mut self, first: &LoadStatsRequest) -> LoadStatsResponse {
        let kind = ClientKind::of::<&str>(first.node.as_ref(), CLUSTER, &[]);
        let snapshots = self.lrs.feeds.standard(kind, first.node.as_ref());
        let metrics = Arc::clone(&self.lrs.metrics);
        let mut client = Client { kind, snapshots, asked: None, before: Before::new(), metrics };
        if !lrs::sends_all(first.node.as_ref()) {
            client.asked = Some(client.clusters());
        }
        let asked = client.asked.clone().map(|names| names.into_iter().collect());
        self.client = Some(client);
        lrs::ask(self.lrs.interval, asked)
    }

    /// Where a client is asked by name and there are other names.
    fn ask_anew(&mut self) -> Option<LoadStatsResponse> {
        let client = self.client.as_mut()?;
        let now = client.clusters();
        if client.asked.as_ref() == Some(&now) {
            return None;
        }
        client.asked = Some(now.clone());
        Some(lrs::ask(self.lrs.interval, Some(now.into_iter().collect())))
    }
}

#[tonic::async_trait]
impl LoadReportingService for Lrs {
    type StreamLoadStatsStream =
        Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let shell = Shell {
            requests: request.into_inner(),
            age: Age::new(self.max_age),
            lrs: self.clone(),
            client: None,
        };
        let answers = futures::stream::unfold(shell, |mut shell| async move {
            let answer = shell.next().await?;
            Some((Ok(answer), shell))
        });
        Ok(Response::new(answers.boxed()))
    }
}
