//! `mesh.v1.HealthReports` and `mesh.v1.Health`: takes what agents have found and hands out what
//! is made of it.

mod report;
#[cfg(test)]
mod tests;
mod watch;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use mesh_api::wire;
use mesh_api::wire::health_event::Event;
use mesh_api::wire::health_reports_server::{HealthReports, HealthReportsServer};
use mesh_api::wire::health_server::{Health, HealthServer};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::health::book::HealthBook;
use crate::health::metrics::HealthMetrics;
use watch::{Filter, Watch};

/// Largest report, in bytes: of [`report::MAX_ENDPOINTS`] endpoints with long names.
const MAX_REPORT: usize = 32 << 20;

/// Both services.
#[derive(Clone, Debug)]
pub struct HealthApi {
    book: Arc<HealthBook>,
    metrics: HealthMetrics,
    shutdown: CancellationToken,
}

impl HealthApi {
    /// Serves a book.
    #[must_use]
    pub const fn new(
        book: Arc<HealthBook>,
        metrics: HealthMetrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self { book, metrics, shutdown }
    }

    /// What agents call.
    #[must_use]
    pub fn for_agents(&self) -> HealthReportsServer<Self> {
        HealthReportsServer::new(self.clone()).max_decoding_message_size(MAX_REPORT)
    }

    /// What meshctl calls.
    #[must_use]
    pub fn for_people(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl HealthReports for HealthApi {
    async fn report(
        &self,
        request: Request<wire::ReportHealthRequest>,
    ) -> Result<Response<wire::ReportHealthResponse>, Status> {
        let now = Instant::now();
        let request = request.into_inner();
        let node = request.node.clone();
        let taken = report::decode(request, now).and_then(|report| {
            self.book
                .heard(report, now)
                .map_err(|error| Status::resource_exhausted(error.to_string()))
        });
        match taken {
            Ok(send_all) => {
                self.metrics.reports.inc();
                Ok(Response::new(wire::ReportHealthResponse { send_all }))
            }
            Err(status) => {
                self.metrics.reports_refused.inc();
                tracing::warn!(node, reason = status.message(), "report on health refused");
                Err(status)
            }
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<wire::HealthEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Health for HealthApi {
    async fn list(
        &self,
        request: Request<wire::ListHealthRequest>,
    ) -> Result<Response<wire::ListHealthResponse>, Status> {
        let filter = Filter::new(request.into_inner())?;
        let (events, _) = self.book.watch(Instant::now());
        let mut response = wire::ListHealthResponse::default();
        for event in events {
            match filter.first(&event).and_then(|event| event.event) {
                Some(Event::Put(endpoint)) => response.endpoints.push(endpoint),
                Some(Event::Guards(guards)) => response.guards.push(guards),
                Some(Event::Removed(_) | Event::Synced(_)) | None => {}
            }
        }
        Ok(Response::new(response))
    }

    type WatchStream = Events;

    async fn watch(
        &self,
        request: Request<wire::ListHealthRequest>,
    ) -> Result<Response<Events>, Status> {
        let filter = Filter::new(request.into_inner())?;
        let watch = Watch::new(&self.book, filter, self.shutdown.clone());
        Ok(Response::new(Box::pin(watch.into_stream())))
    }
}
