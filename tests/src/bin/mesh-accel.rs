//! `mesh-accel`: what `cargo xtask accel-torture` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_tests::accel::torture;
use mesh_tests::{programs, ui};

/// Acceleration under load: random connections, every byte compared; or programs that people run.
#[derive(Debug, Parser)]
#[command(name = "mesh-accel", args_conflicts_with_subcommands = true)]
struct MeshAccel {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    torture: torture::Cli,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// nginx, Redis, `PostgreSQL` and iperf3 with their benchmarks.
    Programs(programs::Cli),
}

fn main() -> ExitCode {
    let cli = MeshAccel::parse();
    ui::exit_code(match cli.other {
        Some(Other::Programs(programs)) => programs::run(&programs),
        None => torture::run(&cli.torture),
    })
}
