//! The agent's binary: arguments, logging, exit code. Everything else is in the library.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use mesh_agent::config::{Cli, Command, RunArgs};
use mesh_agent::{app, commands};
use mesh_telemetry::Settings;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where even stderr is closed.
            writeln!(io::stderr(), "mesh-agent: {error:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run(*args),
        Command::Status(args) => commands::run_status(&args),
        Command::Dump(args) => commands::run_dump(&args),
        Command::Check(args) => commands::run_check(&args),
        Command::EnvoyBootstrap(args) => commands::run_envoy_bootstrap(&args),
        Command::Canary(args) => commands::run_canary(&args),
        Command::Orphan(args) => commands::run_orphan(&args),
        Command::Uninstall(args) => commands::run_uninstall(&args),
    }
}

fn run(args: RunArgs) -> Result<()> {
    let telemetry = mesh_telemetry::init(Settings {
        service: "mesh-agent",
        version: env!("CARGO_PKG_VERSION"),
        // Its name is checked later, where it can be complained about.
        node: args.node.clone(),
        log: Some(args.log_format),
        trace: args.trace.clone(),
    })?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(app::run(args));
    telemetry.shutdown();
    ended
}
