//! The control plane's program: command line, logging, signals. The rest is in the library.
#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::process::ExitCode;

use clap::Parser as _;
use mesh_control::app;
use mesh_control::config::{Config, LogFormat};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    log_to_stderr(config.log_format);
    if let Err(error) = config.check() {
        complain(&error.to_string());
        return ExitCode::from(USAGE);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let bound = app::build(config).await?;
        tracing::info!(grpc = %bound.grpc, http = %bound.http, "ready");
        let stop = stop_on_signal(bound.shutdown.clone());
        let mut ended = pin!(bound.wait());
        tokio::select! {
            result = &mut ended => return result,
            result = stop => result?,
        }
        ended.await
    })
}

async fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    shutdown.cancel();
    Ok(())
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Plain => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// If nobody reads stderr, nobody can be told.
fn complain(message: &str) {
    if writeln!(std::io::stderr().lock(), "mesh-control: {message}").is_err() {
        tracing::debug!("stderr is closed");
    }
}
