//! The control plane's program: command line, logging, signals. The rest is in the library.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;

use clap::Parser as _;
use mesh_control::app;
use mesh_control::config::Config;
use mesh_telemetry::{InitError, Settings, Telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = config.check() {
        complain(&error.to_string());
        return ExitCode::from(USAGE);
    }
    let ended = telemetry(&config).map_err(anyhow::Error::from).and_then(|telemetry| {
        let ended = run(config);
        telemetry.shutdown();
        ended
    });
    match ended {
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

fn telemetry(config: &Config) -> Result<Telemetry, InitError> {
    mesh_telemetry::init(Settings {
        service: "mesh-control",
        version: env!("CARGO_PKG_VERSION"),
        node: None,
        log: Some(config.log_format),
        trace: config.trace.clone(),
    })
}

/// If nobody reads stderr, nobody can be told.
fn complain(message: &str) {
    if writeln!(std::io::stderr().lock(), "mesh-control: {message}").is_err() {
        tracing::debug!("stderr is closed");
    }
}
