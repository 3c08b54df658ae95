//! `mesh-torture`: what `cargo xtask torture` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::{torture, ui};

fn main() -> ExitCode {
    ui::exit_code(torture::run(&torture::Cli::parse()))
}
