//! `cargo xtask ci`: every check that a change must pass, all of them run even if one fails, with
//! a table at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::test::{self, Totals};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use crate::{build_ebpf, process, setup, tidy, ui};

/// Runs all; the exit code is 1 if any has failed.
pub(crate) fn command(workspace: &Workspace) -> ExitCode {
    let mut steps = Steps::default();
    steps.run("setup", || setup::run(workspace, true));
    steps.run("fmt", || process::run(workspace.cargo().args(["fmt", "--all", "--check"])));
    steps.run("tidy", || tidy::run(workspace));
    steps.run("deny", || deny(workspace));
    steps.run("build-ebpf", || build_ebpf::run(workspace));
    steps.run("clippy ebpf", || clippy_ebpf(workspace));
    steps.run("clippy host", || clippy_host(workspace));
    let mut totals = Totals::default();
    steps.run("test", || {
        totals = test::run(workspace)?;
        if !totals.ok() {
            anyhow::bail!("not all tests passed");
        }
        Ok(())
    });
    let ok = steps.report();
    totals.report();
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Debug, Default)]
struct Steps(Vec<(&'static str, Duration, bool)>);

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        ui::step("ci", format_args!("---- {name} ----"));
        let start = Instant::now();
        let result = step();
        if let Err(error) = &result {
            ui::warn(format_args!("error: {name}: {error:#}"));
        }
        self.0.push((name, start.elapsed(), result.is_ok()));
    }

    fn report(&self) -> bool {
        ui::step("ci", "---- summary ----");
        for (name, elapsed, ok) in &self.0 {
            let result = if *ok { "ok" } else { "FAILED" };
            ui::say(format_args!("  {name:12} {result:7} {:>12}", ui::duration(*elapsed)));
        }
        self.0.iter().all(|(_, _, ok)| *ok)
    }
}

/// Licences, banned and doubled crates, sources. Advisories need the network and are not asked.
fn deny(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args([
        "deny",
        "--workspace",
        "--offline",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn clippy_ebpf(workspace: &Workspace) -> Result<()> {
    process::run(Toolchain::find()?.clippy(workspace)?.arg("--bins"))
}

fn clippy_host(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--exclude",
        "mesh-ebpf",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}
