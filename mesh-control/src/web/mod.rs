//! The web page: its files, and what it shows, as JSON.
//!
//! - `GET /`, `GET /web/…`: files that are built in; nothing is loaded from anywhere else
//! - `GET /api/v1/mesh`: services, nodes and edges as they are now
//! - `GET /api/v1/mesh/stream`: the same as server-sent events `mesh`, one a second: first all, then
//!   what has changed
//! - `GET /api/v1/mesh/detail?service=NAMESPACE/NAME&range=15m` or `?node=NAME`: events `detail` and
//!   `series` about one of them
//!
//! Like everything at this address it only reads.

mod assets;
mod delta;
mod detail;
mod events;
mod rows;
mod survey;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::Sse;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::watch::Receiver;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::telemetry::TelemetryApi;
use crate::config::Switch;
use crate::health::book::HealthBook;
use crate::world::World;
use crate::xds::Nodes;
use delta::Changes;
use detail::Asked;
use survey::Survey;

/// Most event streams at a time; a page has two at most.
const MAX_STREAMS: usize = 200;

/// What the page shows.
#[derive(Clone)]
pub struct Sources {
    /// The current objects.
    pub worlds: Receiver<Arc<World>>,
    /// Who is connected.
    pub nodes: Arc<Nodes>,
    /// Health of endpoints.
    pub health: Arc<HealthBook>,
    /// What is counted.
    pub telemetry: TelemetryApi,
}

/// The page. Its files are there at once; what it shows, when the store is open.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    sources: OnceLock<Sources>,
    /// The last survey, which all pages share, and when it was made.
    survey: Mutex<Option<(Instant, Arc<Survey>)>>,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}

impl Web {
    /// With nothing to show yet. The shutdown ends the event streams.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            sources: OnceLock::new(),
            survey: Mutex::new(None),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            shutdown,
        }))
    }

    /// From now on it shows this.
    pub fn open(&self, sources: Sources) {
        // There is one store, which is opened once.
        self.0.sources.set(sources).ok();
    }

    /// The routes; none where the page is switched off.
    pub fn router(&self, switch: Switch) -> Router {
        match switch {
            Switch::Off => Router::new(),
            Switch::On => Router::new()
                .route("/api/v1/mesh", get(mesh))
                .route("/api/v1/mesh/stream", get(stream))
                .route("/api/v1/mesh/detail", get(detail))
                .with_state(self.clone())
                .merge(assets::router()),
        }
    }

    fn sources(&self) -> Result<Sources, Refusal> {
        self.0.sources.get().cloned().ok_or(Refusal::Starting)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.0.streams).try_acquire_owned().map_err(|_full| Refusal::Full)
    }

    /// What there is now; at most [`survey::AGE`] old.
    async fn survey(&self, sources: &Sources) -> Arc<Survey> {
        let mut last = self.0.survey.lock().await;
        let now = Instant::now();
        if let Some((at, survey)) = &*last
            && now.saturating_duration_since(*at) < survey::AGE
        {
            return Arc::clone(survey);
        }
        let survey = Arc::new(Survey::take(sources).await);
        *last = Some((now, Arc::clone(&survey)));
        survey
    }
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the control plane is starting: try again")]
    Starting,
    #[error("{MAX_STREAMS} event streams are open already: close some pages")]
    Full,
    #[error("{0}")]
    Wrong(String),
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Starting | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Wrong(_) => StatusCode::BAD_REQUEST,
        };
        (code, format!("{self}\n")).into_response()
    }
}

async fn mesh(State(web): State<Web>) -> Result<Response, Refusal> {
    let sources = web.sources()?;
    let survey = web.survey(&sources).await;
    Ok(Json(Changes::all(&survey)).into_response())
}

async fn stream(State(web): State<Web>) -> Result<Response, Refusal> {
    let (sources, place) = (web.sources()?, web.place()?);
    Ok(Sse::new(events::mesh(web, sources, place)).into_response())
}

async fn detail(State(web): State<Web>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    let (sources, subject) = (web.sources()?, asked.subject()?);
    let place = web.place()?;
    let shutdown = web.0.shutdown.clone();
    Ok(Sse::new(detail::events(subject, sources, shutdown, place)).into_response())
}
