//! The trace of a command that changes something. Every such command begins one, so that control
//! plane and agents can continue it; its own span is sent only where a receiver is named.

use std::io::{self, Write as _};

use mesh_telemetry::args::endpoint;
use mesh_telemetry::{Settings, Telemetry, TraceArgs, TraceContext, span, trace_span};
use tracing::Span;

use crate::cli::Command;
use crate::failure::Failure;

/// Names the receiver, as for every program that speaks OTLP.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A trace that begins here.
#[derive(Debug)]
pub(crate) struct Trace {
    context: TraceContext,
    span: Span,
    telemetry: Option<Telemetry>,
}

impl Trace {
    /// Begins one, where the command changes something.
    pub(crate) fn begin(command: &Command, verbose: bool) -> Option<Self> {
        let name = name(command)?;
        let telemetry = match receiver() {
            Ok(telemetry) => telemetry,
            Err(reason) => {
                // No reason not to do what was asked.
                say(verbose, &format!("the trace is not sent: {ENDPOINT}: {reason}"));
                None
            }
        };
        let span = trace_span!("meshctl", otel.name = name, otel.kind = "client");
        let context = span::context_of(&span).unwrap_or_else(TraceContext::generate);
        say(verbose, &format!("trace {}", context.trace_id()));
        Some(Self { context, span, telemetry })
    }

    /// What the control plane continues.
    pub(crate) const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Ends it and sends it, if that takes no longer than two seconds.
    pub(crate) fn end(self, result: &Result<(), Failure>) {
        let Self { span, telemetry, .. } = self;
        if let Err(failure) = result {
            span::failed(&span, &failure.to_string());
        }
        drop(span);
        if let Some(telemetry) = telemetry {
            telemetry.shutdown();
        }
    }
}

/// Sends spans to whoever the environment names.
fn receiver() -> Result<Option<Telemetry>, String> {
    let named = std::env::var(ENDPOINT).unwrap_or_default();
    let otlp_endpoint = endpoint(&named)?;
    if otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let settings = Settings {
        service: "meshctl",
        version: env!("CARGO_PKG_VERSION"),
        node: None,
        log: None,
        trace: TraceArgs { otlp_endpoint, ..TraceArgs::default() },
    };
    mesh_telemetry::init(settings).map(Some).map_err(|error| error.to_string())
}

const fn name(command: &Command) -> Option<&'static str> {
    match command {
        Command::Apply(_) => Some("meshctl apply"),
        Command::Delete(_) => Some("meshctl delete"),
        Command::Rollback(_) => Some("meshctl rollback"),
        Command::Deregister(_) => Some("meshctl deregister"),
        // It may stay for as long as the endpoint.
        Command::Register(_)
        | Command::Get(_)
        | Command::Describe(_)
        | Command::History(_)
        | Command::Diff(_)
        | Command::Status
        | Command::ProxyStatus(_)
        | Command::Health(_)
        | Command::Stat(_)
        | Command::Top(_)
        | Command::Tap(_)
        | Command::Workloads(_)
        | Command::GrpcBootstrap(_)
        | Command::Completion(_)
        | Command::Connections(_)
        | Command::Log(_)
        | Command::BugReport(_)
        | Command::Version => None,
    }
}

fn say(verbose: bool, text: &str) {
    if verbose {
        // Where standard error is closed there is nobody to tell.
        writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
    }
}
