//! `mesh.v1.TelemetryReports` and `mesh.v1.Telemetry`: takes what agents have counted and hands
//! out what is made of it.

mod convert;
mod http;
mod intake;
pub(crate) mod json;
pub mod report;
#[cfg(test)]
mod tests;
mod weigh;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::Stream;
use mesh_api::wire;
use mesh_api::wire::telemetry_reports_server::TelemetryReports;
use mesh_api::wire::telemetry_server::{Telemetry, TelemetryServer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::telemetry::book::TrafficBook;
use crate::telemetry::metrics::TelemetryMetrics;
use convert::{History, Question};
pub use intake::Intake;

/// Questions that are answered at a time.
const QUESTIONS: usize = 4;

/// Both services.
#[derive(Clone, Debug)]
pub struct TelemetryApi {
    book: Arc<TrafficBook>,
    metrics: TelemetryMetrics,
    questions: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl TelemetryApi {
    /// Serves a book.
    #[must_use]
    pub fn new(
        book: Arc<TrafficBook>,
        metrics: TelemetryMetrics,
        shutdown: CancellationToken,
    ) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        Self { book, metrics, questions, shutdown }
    }

    /// What agents call.
    #[must_use]
    pub fn for_agents(&self) -> Intake {
        Intake::new(self.clone())
    }

    /// What meshctl calls.
    #[must_use]
    pub fn for_people(&self) -> TelemetryServer<Self> {
        TelemetryServer::new(self.clone())
    }

    /// What was counted of the mesh, and by whom.
    pub(crate) const fn book(&self) -> &Arc<TrafficBook> {
        &self.book
    }

    /// Answers a question about totals and rates.
    pub(crate) async fn stat_once(
        &self,
        request: wire::StatRequest,
    ) -> Result<wire::StatResponse, Status> {
        self.tell(Question::new(request)?).await
    }

    /// Counts a report that is not taken, and says why.
    fn refuse(&self, node: Option<&str>, status: &Status) {
        self.metrics.refused();
        tracing::warn!(node, reason = status.message(), "report on traffic refused");
    }

    async fn tell(&self, question: Question) -> Result<wire::StatResponse, Status> {
        self.work(move |book| question.ask(book, Instant::now())).await
    }

    /// Answers a question about what was counted over time.
    pub(crate) async fn plot(
        &self,
        request: wire::SeriesRequest,
    ) -> Result<wire::SeriesResponse, Status> {
        let history = History::new(request)?;
        let answer = self.work(move |book| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            history.ask(book, Instant::now(), time)
        });
        answer.await
    }

    /// Reads steps where nothing else waits, and few at a time, since each has memory of its own.
    async fn work<T: Send + 'static>(
        &self,
        question: impl FnOnce(&TrafficBook) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let internal = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
        let turn = self.questions.acquire().await.map_err(|error| internal(&error))?;
        let book = Arc::clone(&self.book);
        let answer = tokio::task::spawn_blocking(move || question(&book)).await;
        drop(turn);
        answer.map_err(|error| internal(&error))?
    }
}

#[tonic::async_trait]
impl TelemetryReports for TelemetryApi {
    async fn report(
        &self,
        request: Request<wire::ReportTrafficRequest>,
    ) -> Result<Response<wire::ReportTrafficResponse>, Status> {
        let request = request.into_inner();
        let node = request.node.clone();
        let taken = report::decode(request).and_then(|report| {
            let heard = self.book.heard(report, Instant::now());
            heard.map_err(|error| Status::resource_exhausted(error.to_string()))
        });
        match taken {
            Ok(send_all) => {
                Ok(Response::new(wire::ReportTrafficResponse { send_all, interval_ms: 0 }))
            }
            Err(status) => {
                self.refuse(Some(&node), &status);
                Err(status)
            }
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::StatResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Telemetry for TelemetryApi {
    async fn stat(
        &self,
        request: Request<wire::StatRequest>,
    ) -> Result<Response<wire::StatResponse>, Status> {
        let question = Question::new(request.into_inner())?;
        Ok(Response::new(self.tell(question).await?))
    }

    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<wire::StatRequest>,
    ) -> Result<Response<Answers>, Status> {
        let question = Question::new(request.into_inner())?;
        let watch = Watch::new(self.clone(), question);
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    async fn series(
        &self,
        request: Request<wire::SeriesRequest>,
    ) -> Result<Response<wire::SeriesResponse>, Status> {
        let answer = self.plot(request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

/// An answer now and then. It is made when the client takes it: for a slow one there are fewer, and
/// none waits.
struct Watch {
    api: TelemetryApi,
    question: Question,
    ticks: tokio::time::Interval,
    failed: bool,
}

impl Watch {
    fn new(api: TelemetryApi, question: Question) -> Self {
        let mut ticks = tokio::time::interval(question.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        Self { api, question, ticks, failed: false }
    }

    async fn next(&mut self) -> Option<Result<wire::StatResponse, Status>> {
        if self.failed {
            return None;
        }
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = self.api.shutdown.cancelled() => {
                self.failed = true;
                return Some(Err(super::errors::shutting_down()));
            }
        }
        let answer = self.api.tell(self.question.clone()).await;
        self.failed = answer.is_err();
        Some(answer)
    }

    fn into_stream(self) -> impl Stream<Item = Result<wire::StatResponse, Status>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let answer = watch.next().await?;
            Some((answer, watch))
        })
    }
}
