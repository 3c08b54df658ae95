//! What monitoring asks: `/healthz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use crate::readiness::{self, Readiness};

/// The `OpenMetrics` content type, which Prometheus asks for by default.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    let healthz = Router::new().route("/healthz", get(healthz)).with_state(readiness);
    Router::new().route("/metrics", get(scrape)).with_state(metrics).merge(healthz)
}

async fn healthz(State(readiness): State<Arc<Readiness>>) -> Response {
    let state = readiness.get();
    let code = match state {
        readiness::State::Ready => StatusCode::OK,
        readiness::State::Starting | readiness::State::StoreFailed | readiness::State::Stopping => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (code, format!("{}\n", state.as_str())).into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
