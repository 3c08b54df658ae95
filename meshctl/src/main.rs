//! `meshctl`: the command line for people and scripts.

#![forbid(unsafe_code)]

mod app;
mod cli;
mod client;
mod commands;
mod failure;
mod input;
mod output;
mod target;
mod trace;
mod traffic;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    app::run(cli::Cli::parse())
}
