//! `cargo xtask`: everything that a developer, the demo or CI runs. One file or folder per
//! command; this one only hands over to them.
#![forbid(unsafe_code)]

mod build_ebpf;
mod ci;
mod cli;
mod machine;
mod process;
mod release;
mod setup;
mod test;
mod tidy;
mod toolchain;
mod ui;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use cli::{Cli, Task};
use workspace::Workspace;

fn main() -> ExitCode {
    run(Cli::parse().task).unwrap_or_else(|error| {
        ui::warn(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match task {
        Task::Setup { ci } => setup::run(&workspace, ci)?,
        Task::BuildEbpf => build_ebpf::run(&workspace)?,
        Task::Demo { args } => return release::demo(&workspace, &args),
        Task::Bench { args } => return release::bench(&workspace, &args),
        Task::Torture { args } => return release::torture(&workspace, &args),
        Task::Faults { args } => return release::faults(&workspace, &args),
        Task::AccelTorture { args } => return release::accel_torture(&workspace, &args),
        Task::Test => return test::command(&workspace),
        Task::Tidy => tidy::run(&workspace)?,
        Task::Ci => return Ok(ci::command(&workspace)),
    }
    Ok(ExitCode::SUCCESS)
}
