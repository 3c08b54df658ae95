//! The same over HTTP, as JSON, for pages and scripts:
//!
//! - `GET /api/v1/stat?by=service&window=10s`, further `namespace`, `service`, `source_workload`,
//!   `node`, `reporter`
//! - `GET /api/v1/series?by=service&range=15m&points=300`, further the same
//! - `GET /api/v1/stream?…`: what `stat` answers, every second, as server-sent events `stat`

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::Stream;
use mesh_api::convert::milliseconds;
use mesh_api::manifest::duration::parse_duration;
use mesh_api::wire;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::convert::Question;
use super::json::{Series, Stat};
use super::{TelemetryApi, Watch};

/// Most event streams at a time.
const MAX_STREAMS: usize = 100;

#[derive(Clone)]
struct Shared {
    api: TelemetryApi,
    streams: Arc<Semaphore>,
}

/// What can be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    by: String,
    namespace: String,
    service: String,
    source_workload: String,
    node: String,
    reporter: String,
    window: String,
    range: String,
    points: u32,
}

impl TelemetryApi {
    /// What pages call.
    pub fn for_pages(self) -> Router {
        let shared = Shared { api: self, streams: Arc::new(Semaphore::new(MAX_STREAMS)) };
        Router::new()
            .route("/api/v1/stat", get(tell))
            .route("/api/v1/series", get(plot))
            .route("/api/v1/stream", get(stream))
            .with_state(shared)
    }
}

impl Asked {
    fn stat(self) -> Result<wire::StatRequest, Status> {
        let by = match self.by.as_str() {
            "" | "service" => wire::GroupBy::Service,
            "edge" => wire::GroupBy::Edge,
            "version" => wire::GroupBy::Version,
            "workload" => wire::GroupBy::Workload,
            "node" => wire::GroupBy::Node,
            other => {
                return Err(Status::invalid_argument(format!(
                    "by={other}: it can be service, edge, version, workload or node"
                )));
            }
        };
        let reporter = match self.reporter.as_str() {
            "" | "source" => wire::Reporter::Source,
            "destination" => wire::Reporter::Destination,
            other => {
                return Err(Status::invalid_argument(format!(
                    "reporter={other}: it can be source or destination"
                )));
            }
        };
        Ok(wire::StatRequest {
            by: by.into(),
            namespace: self.namespace,
            service: self.service,
            source_workload: self.source_workload,
            node: self.node,
            window_ms: duration("window", &self.window)?,
            reporter: reporter.into(),
            every_ms: 0,
        })
    }

    fn series(self) -> Result<wire::SeriesRequest, Status> {
        let (range_ms, points) = (duration("range", &self.range)?, self.points);
        Ok(wire::SeriesRequest { of: Some(self.stat()?), range_ms, points })
    }
}

fn duration(field: &str, text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    let parsed = parse_duration(text).map(milliseconds);
    parsed.ok_or_else(|| {
        Status::invalid_argument(format!("{field}={text} is no duration: write 500ms, 10s or 15m"))
    })
}

fn refuse(status: &Status) -> Response {
    let theirs = [Code::InvalidArgument, Code::FailedPrecondition].contains(&status.code());
    let code = if theirs {
        StatusCode::BAD_REQUEST
    } else if status.code() == Code::ResourceExhausted {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (code, format!("{}\n", status.message())).into_response()
}

async fn tell(State(it): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let question = match asked.stat().and_then(Question::new) {
        Ok(question) => question,
        Err(status) => return refuse(&status),
    };
    match it.api.tell(question).await {
        Ok(stat) => Json(Stat::from(stat)).into_response(),
        Err(status) => refuse(&status),
    }
}

async fn plot(State(it): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let request = match asked.series() {
        Ok(request) => request,
        Err(status) => return refuse(&status),
    };
    match it.api.plot(request).await {
        Ok(series) => Json(Series::from(series)).into_response(),
        Err(status) => refuse(&status),
    }
}

async fn stream(State(it): State<Shared>, Query(asked): Query<Asked>) -> Response {
    match events(&it, asked) {
        Ok(events) => Sse::new(events).into_response(),
        Err(status) => refuse(&status),
    }
}

fn events(
    it: &Shared,
    asked: Asked,
) -> Result<impl Stream<Item = Result<Event, Infallible>> + use<>, Status> {
    let question = Question::new(asked.stat()?)?;
    let place = Arc::clone(&it.streams).try_acquire_owned().map_err(|error| {
        let why = format!("{MAX_STREAMS} pages are open already ({error}): close some");
        Status::resource_exhausted(why)
    })?;
    let watch = Watch::new(it.api.clone(), question);
    // The place is kept for as long as the stream is.
    Ok(futures::stream::unfold((watch, place), |(mut watch, place)| async move {
        let stat = Stat::from(watch.next().await?.ok()?);
        let event = Event::default().event("stat").json_data(stat).ok()?;
        Some((Ok(event), (watch, place)))
    }))
}
