//! The agent's binary: arguments, logging, exit code. Everything else is in the library.

#![forbid(unsafe_code)]

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use mesh_agent::config::{Cli, Command, LogFormat, RunArgs};
use mesh_agent::{app, commands};
use tracing_subscriber::EnvFilter;

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
        Command::Canary(args) => commands::run_canary(&args),
        Command::Uninstall(args) => commands::run_uninstall(&args),
    }
}

fn run(args: RunArgs) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour());
    match args.log_format {
        LogFormat::Plain => log.init(),
        LogFormat::Json => log.json().init(),
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(app::run(args))
}

/// For people at a terminal who did not ask for none (no-color.org).
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
