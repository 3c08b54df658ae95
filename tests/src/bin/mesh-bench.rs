//! `mesh-bench`: what `cargo xtask bench` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::{bench, ui};

fn main() -> ExitCode {
    ui::exit_code(bench::run(bench::Cli::parse()))
}
