//! `mesh-faults`: what `cargo xtask faults` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::{faults, ui};

fn main() -> ExitCode {
    ui::exit_code(faults::run(&faults::Cli::parse()))
}
