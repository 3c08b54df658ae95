//! `mesh-accel`: what `cargo xtask accel-torture` runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::accel::torture;
use mesh_tests::ui;

fn main() -> ExitCode {
    ui::exit_code(torture::run(&torture::Cli::parse()))
}
