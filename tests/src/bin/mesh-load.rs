//! Helper of the tests: the sockets of the backends and of the traffic are made here.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use mesh_tests::{load, ui};

fn main() -> ExitCode {
    ui::exit_code(load::run(load::Cli::parse()))
}
