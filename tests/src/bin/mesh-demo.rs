//! `mesh-demo`: what `cargo xtask demo` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::{demo, ui};

fn main() -> ExitCode {
    ui::exit_code(demo::run(&demo::Cli::parse()))
}
