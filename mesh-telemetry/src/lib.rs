//! Logs and traces, set up the same way by every program of the mesh.
//!
//! - [`args`]: the flags, and how log lines look.
//! - [`log`]: which lines are written, changeable while the program runs.
//! - [`keeper`]: changes it for people, and ends what was for a while; [`levels`] says when. Pure.
//! - [`recent`]: the last lines, for a bug report.
//! - [`context`]: what one program tells the next about a trace (W3C `traceparent`). Pure.
//! - [`span`]: spans, their parents and links.
//! - [`past`]: spans of what is over already.
//! - `export`: sends spans over OTLP, from a queue that never makes anybody wait.
//!
//! A span costs next to nothing where no receiver is configured: no layer asks for it, so it is
//! never made. Log levels say nothing about spans, and spans never appear in log lines.
#![forbid(unsafe_code)]

pub mod args;
pub mod context;
mod export;
pub mod keeper;
pub mod levels;
pub mod log;
pub mod past;
pub mod recent;
pub mod span;

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

pub use args::{LogFormat, TraceArgs};
pub use context::TraceContext;
pub use export::{NotExporting, SpanCounts, counts};
pub use log::{LogError, LogHandle};
pub use recent::Recent;
#[doc(hidden)]
pub use tracing as __tracing;

use export::Exporting;
use past::PastSpans;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

/// Target of every span that belongs to a trace.
pub const TARGET: &str = "mesh_trace";

/// What logs and traces are set up for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program, `service.name` of its spans.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The node, `service.instance.id` and `host.name` of its spans; the host's name if `None`.
    pub node: Option<String>,
    /// How log lines look; `None`: nothing is logged.
    pub log: Option<LogFormat>,
    /// Where traces go.
    pub trace: TraceArgs,
}

/// Why logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Threads or sockets.
    #[error("traces cannot be sent: {0}")]
    Export(#[source] NotExporting),
    /// Somebody else has set up logs in this process.
    #[error("logs are set up already: {0}")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// What can be asked and changed while the program runs.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Which log lines are written.
    pub log: LogHandle,
    /// The last of them.
    pub recent: Recent,
    /// What became of the spans.
    pub spans: SpanCounts,
    /// Spans of what is over; `None` where no receiver is named.
    pub past: Option<PastSpans>,
}

impl Handles {
    /// What is logged, as files of a bug report: the lines of the last so many milliseconds, 0 for all
    /// that are kept; and which lines are written.
    #[must_use]
    pub fn files(&self, since_ms: u64) -> [(&'static str, String); 2] {
        let since = if since_ms == 0 { Duration::MAX } else { Duration::from_millis(since_ms) };
        let lines = self.recent.lines(since).into_iter().map(|line| line + "\n").collect();
        [("log.txt", lines), ("log-level.txt", self.log.current() + "\n")]
    }
}

static INSTALLED: OnceLock<Handles> = OnceLock::new();

/// What [`init`] has set up; `None` in a process that has not called it, as tests.
#[must_use]
pub fn installed() -> Option<&'static Handles> {
    INSTALLED.get()
}

/// Sets up logs and traces for the whole process. Call it once, before anything is logged; it
/// needs no runtime. Which lines are logged is in `RUST_LOG`, and `info` where that says nothing.
pub fn init(settings: Settings) -> Result<Telemetry, InitError> {
    let Settings { service, version, node, log, trace } = settings;
    let spans = SpanCounts::default();
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
    let (filter, handle) = log::filter();
    let recent = Recent::default();
    layers.extend(log.map(|format| log::layer(format, filter, recent.clone())));
    let exporting = if trace.otlp_endpoint.is_empty() {
        None
    } else {
        let node = node.unwrap_or_else(host_name);
        let exporting = Exporting::start(&trace, (service, version), node, spans.clone());
        let exporting = exporting.map_err(InitError::Export)?;
        layers.push(exporting.layer());
        Some(exporting)
    };
    tracing_subscriber::registry().with(layers).try_init().map_err(InitError::Twice)?;
    // Nobody else gets here: the line above succeeds once.
    let past = exporting.as_ref().map(Exporting::past);
    INSTALLED.get_or_init(|| Handles { log: handle, recent, spans, past });
    Ok(Telemetry { exporting })
}

/// Logs and traces of a process that runs.
#[derive(Debug)]
#[must_use = "call `shutdown` at the end, or the last spans are lost"]
pub struct Telemetry {
    exporting: Option<Exporting>,
}

impl Telemetry {
    /// Sends what waits, for two seconds at most. It blocks: not for a task of a runtime.
    pub fn shutdown(self) {
        if let Some(exporting) = self.exporting {
            exporting.stop();
        }
    }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}
