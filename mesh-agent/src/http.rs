//! What the agent tells about itself over HTTP: health, metrics, status.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bpf::attach::{LinkStatus, detached, links};
use crate::telemetry;
use crate::worker::{Stats, Worker};
use crate::xds::client::Line;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the node.
    pub node: String,
    /// Where links are pinned.
    pub pin_path: PathBuf,
    /// Where programs are attached.
    pub cgroup: PathBuf,
    /// Who knows the maps.
    pub worker: Worker,
    /// How the line to the control plane is.
    pub line: watch::Receiver<Line>,
    /// Whether the maps held a complete state at the start: of the copy on disk, or of an earlier
    /// agent.
    pub served: bool,
}

/// Body of `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether a stream to the control plane is open.
    pub connected: bool,
    /// Why the last stream ended; empty where none did.
    pub error: String,
    /// Revision that is live and acknowledged; 0 before the first.
    pub live_revision: u64,
    /// Where programs are attached.
    pub cgroup: PathBuf,
    /// The programs.
    pub links: Vec<LinkStatus>,
    /// The policy maps.
    pub maps: Vec<MapUsage>,
    /// Services that cannot be programmed.
    pub rejections: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// How full a map is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapUsage {
    /// Its name.
    pub map: String,
    /// Entries used.
    pub entries: u64,
    /// Entries possible.
    pub max_entries: u64,
}

/// All routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/healthz/live", get(|| async { "ok\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(context)
}

/// Ready: programs attached, and maps that hold a complete state. Never unready because the
/// control plane is away.
fn unready(context: &Context) -> Option<String> {
    if let Some(programs) = detached(&context.pin_path) {
        return Some(programs);
    }
    let served = context.served || context.line.borrow().synced;
    (!served).then(|| "no configuration yet: waiting for the control plane".to_owned())
}

async fn ready(State(context): State<Context>) -> Response {
    match unready(&context) {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn stats(context: &Context) -> Result<Stats, Response> {
    let stats = context.worker.stats().await.map_err(|error| failure(&error))?;
    stats.map_err(|error| failure(&error))
}

async fn metrics(State(context): State<Context>) -> Response {
    let stats = match stats(&context).await {
        Ok(stats) => stats,
        Err(response) => return response,
    };
    let line = context.line.borrow().clone();
    match telemetry::render(&stats, &line, &links(&context.pin_path)) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn status(State(context): State<Context>) -> Response {
    let stats = match stats(&context).await {
        Ok(stats) => stats,
        Err(response) => return response,
    };
    let line = context.line.borrow().clone();
    let usage = |(map, entries, max_entries): &(&str, u64, u64)| MapUsage {
        map: (*map).to_owned(),
        entries: *entries,
        max_entries: *max_entries,
    };
    let reject = |rejection: &crate::compile::Rejection| {
        format!("{}: {}", rejection.object, rejection.message)
    };
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: context.node.clone(),
        ready: unready(&context).is_none(),
        connected: line.connected,
        error: line.error,
        live_revision: line.live_revision,
        cgroup: context.cgroup.clone(),
        links: links(&context.pin_path),
        maps: stats.usage.iter().map(usage).collect(),
        rejections: stats.rejections.iter().map(reject).collect(),
        warnings: stats.warnings,
    })
    .into_response()
}

fn failure(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
