//! What the agent tells about itself over HTTP: health, metrics, status.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::accel::{Prepared, auto};
use crate::bpf::effective::{Foreign, HookStatus, survey};
use crate::canary::verdict::Fires;
use crate::guard::follower::Guards;
use crate::health;
use crate::keeper::Trust;
use crate::proxy::follow::Known;
use crate::report;
use crate::telemetry;
use crate::worker::{Stats, Worker};
use crate::xds::client::Line;

/// Most bytes of a page that is taken over.
const MOST: usize = 64 << 20;

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
    /// Who checks health.
    pub health: health::metrics::Source,
    /// Who watches breakers and ejections.
    pub guards: Guards,
    /// What this kernel can do of same-node acceleration.
    pub acceleration: Arc<Prepared>,
    /// What was decided about services that leave acceleration to the agent.
    pub auto: watch::Receiver<auto::metrics::Figures>,
    /// What the keeper knows about the programs.
    pub trust: watch::Receiver<Trust>,
    /// How the line to the control plane is.
    pub line: watch::Receiver<Line>,
    /// What was reported to the control plane.
    pub reports: watch::Receiver<report::metrics::Figures>,
    /// What is known of the node's Envoy.
    pub proxy: watch::Receiver<Known>,
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
    /// Why it is not; empty where it is.
    pub reason: String,
    /// Whether a stream to the control plane is open.
    pub connected: bool,
    /// Why the last stream ended; empty where none did.
    pub error: String,
    /// Revision that is live and acknowledged; 0 before the first.
    pub live_revision: u64,
    /// Where programs are attached.
    pub cgroup: PathBuf,
    /// The programs.
    pub programs: Vec<ProgramStatus>,
    /// Programs of others at the same hooks.
    pub foreign: Vec<Foreign>,
    /// Same-node acceleration.
    pub acceleration: Accelerated,
    /// How the node's Envoy is; empty where there is to be none.
    pub envoy: String,
    /// The policy maps.
    pub maps: Vec<MapUsage>,
    /// Services that cannot be programmed.
    pub rejections: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One of our programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// What the kernel says: its link, and whether it is run.
    #[serde(flatten)]
    pub hook: HookStatus,
    /// What the canary found.
    pub fires: Fires,
}

/// How it is with same-node acceleration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accelerated {
    /// `usable`, `unusable` or `off`: what this machine may do.
    pub state: String,
    /// The same in words, with what does not work or why it is unusable.
    pub verdict: String,
    /// Whether it is on, because a service asks for it.
    pub active: bool,
    /// Open connections whose ends have found each other.
    pub connections: u64,
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

/// What is served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    /// `/status`.
    Status,
    /// `/healthz/ready`.
    Ready,
    /// `/metrics`.
    Metrics,
}

impl Page {
    /// The same text as over HTTP.
    pub(crate) async fn text(self, context: &Context) -> String {
        let state = State(context.clone());
        let answer = match self {
            Self::Status => status(state).await,
            Self::Ready => ready(state).await,
            Self::Metrics => metrics(state).await,
        };
        let body = axum::body::to_bytes(answer.into_body(), MOST).await;
        body.map_or_else(|error| error.to_string(), |it| String::from_utf8_lossy(&it).into_owned())
    }
}

/// What the kernel and the canary say about each program, at this moment.
fn programs(context: &Context) -> Vec<ProgramStatus> {
    let hooks = survey(&context.cgroup, &context.pin_path).hooks;
    let trust = context.trust.borrow();
    let status = |hook: HookStatus| {
        let fires = trust.fires(&hook.link.program);
        ProgramStatus { hook, fires }
    };
    hooks.into_iter().map(status).collect()
}

fn name(program: &ProgramStatus) -> String {
    program.hook.link.program.clone()
}

/// Ready: programs attached, run by the kernel and proven by the canary, and maps that hold a
/// complete state. Never unready because the control plane is away.
fn unready(context: &Context, programs: &[ProgramStatus]) -> Option<String> {
    let list = |what: &str, bad: fn(&ProgramStatus) -> Option<String>| {
        let bad: Vec<String> = programs.iter().filter_map(bad).collect();
        (!bad.is_empty()).then(|| format!("{what}: {}", bad.join(", ")))
    };
    if let Some(lost) = list("not attached", |it| (!it.hook.link.attached).then(|| name(it)))
        .or_else(|| list("attached but not run", |it| (!it.hook.effective).then(|| name(it))))
    {
        return Some(lost);
    }
    let trust = context.trust.borrow();
    if trust.fires.is_empty() {
        let why = trust.problem.clone();
        return Some(why.unwrap_or_else(|| "the canary has not run yet".to_owned()));
    }
    let failing = list("does not fire", |it| match &it.fires {
        Fires::No(reason) => Some(format!("{}: {reason}", name(it))),
        Fires::Unknown | Fires::Yes | Fires::Unavailable(_) => None,
    });
    let untried = || list("cannot be tried", |it| (it.fires == Fires::Unknown).then(|| name(it)));
    if let Some(reason) = failing.or_else(untried) {
        return Some(reason);
    }
    let served = context.served || context.line.borrow().synced;
    (!served).then(|| "no configuration yet: waiting for the control plane".to_owned())
}

async fn ready(State(context): State<Context>) -> Response {
    match unready(&context, &programs(&context)) {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn stats(context: &Context) -> Result<Arc<Stats>, Response> {
    let stats = context.worker.stats().await.map_err(|error| failure(&error))?;
    stats.map_err(|error| failure(&error))
}

async fn metrics(State(context): State<Context>) -> Response {
    let stats = match stats(&context).await {
        Ok(stats) => stats,
        Err(response) => return response,
    };
    let line = context.line.borrow().clone();
    let foreign = context.trust.borrow().foreign.clone();
    let health = context.health.figures().await;
    let guards = match context.guards.stats().await {
        Ok(guards) => guards,
        Err(error) => return failure(&error),
    };
    let programs = programs(&context);
    let auto = context.auto.borrow().clone();
    let accel = (&*context.acceleration, &auto);
    let reports = *context.reports.borrow();
    let proxy = context.proxy.borrow().clone();
    let control = (&line, &reports, &proxy);
    match telemetry::render(&stats, &health, &guards, accel, control, &programs, &foreign) {
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
    let programs = programs(&context);
    let reason = unready(&context, &programs);
    let trust = context.trust.borrow().clone();
    let mut warnings = stats.warnings.clone();
    if !stats.settled {
        warnings.push("connections are not told until the maps are as they should be".to_owned());
    }
    if trust.incomplete {
        warnings.push("more cgroups than are searched for programs of others".to_owned());
    }
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: context.node.clone(),
        ready: reason.is_none(),
        reason: reason.unwrap_or_default(),
        connected: line.connected,
        error: line.error,
        live_revision: line.live_revision,
        cgroup: context.cgroup.clone(),
        programs,
        foreign: trust.foreign,
        acceleration: Accelerated {
            state: context.acceleration.judgement.state().to_owned(),
            verdict: context.acceleration.judgement.to_string(),
            active: stats.accelerating,
            connections: stats.accelerated.connections,
        },
        envoy: context.proxy.borrow().to_string(),
        maps: stats.usage.iter().map(usage).collect(),
        rejections: stats.rejections.iter().map(reject).collect(),
        warnings,
    })
    .into_response()
}

fn failure(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
