//! `cargo xtask demo`, `bench`, `torture`, `faults` and `accel-torture`: build what they run, then
//! become it, so that Ctrl-C and the exit code are the program's own.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{build_ebpf, process, setup, ui};

/// The benchmarks that compare the mesh with others.
const COMPARING: [&str; 2] = ["connect", "established"];

/// `demo ARGS`.
pub(crate) fn demo(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    launch(workspace, "mesh-demo", args)
}

/// `bench WHAT ARGS`.
pub(crate) fn bench(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    if args.first().is_some_and(|what| COMPARING.iter().any(|name| what == name)) {
        setup::peers();
    }
    launch(workspace, "mesh-bench", args)
}

/// `torture ARGS`.
pub(crate) fn torture(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    launch(workspace, "mesh-torture", args)
}

/// `faults ARGS`.
pub(crate) fn faults(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    launch(workspace, "mesh-faults", args)
}

/// `accel-torture ARGS`.
pub(crate) fn accel_torture(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    launch(workspace, "mesh-accel", args)
}

fn launch(workspace: &Workspace, program: &str, args: &[OsString]) -> Result<ExitCode> {
    setup::run(workspace, false)?;
    build_ebpf::run(workspace)?;
    // One call for all of them: separate ones would choose features differently and build twice.
    process::run(workspace.cargo().args([
        "build",
        "--release",
        "--bins",
        "--package",
        "mesh-control",
        "--package",
        "mesh-agent",
        "--package",
        "meshctl",
        "--package",
        "mesh-tests",
    ]))?;
    let path = workspace.target.join("release").join(program);
    ui::step("xtask", format_args!("starting {}", path.display()));
    // What `cargo run` has put there is of no use to the programs.
    process::become_program(Command::new(path).args(args).env_remove("LD_LIBRARY_PATH"))
}
