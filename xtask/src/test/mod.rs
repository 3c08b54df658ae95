//! `cargo xtask test`: every test of the repository, the kernel's among them. Builds once, runs
//! the test programs itself and counts what they report.

mod build;
mod libtest;
mod precheck;

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{build_ebpf, process, setup, ui};
use build::Program;
use libtest::Counts;

/// The package whose integration tests run on the real kernel.
const KERNEL_PACKAGE: &str = "mesh-tests";
/// Golden scripts run twice; those with this word in their name touch no kernel.
const NOT_KERNEL: &str = "memory";

/// What was run and how it went.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    all: Counts,
    kernel: u64,
}

impl Totals {
    /// Everything ran, nothing failed, and the kernel was really asked.
    pub(crate) const fn ok(&self) -> bool {
        self.all.failed == 0 && self.all.ignored == 0 && self.kernel > 0
    }

    /// The closing lines; the last one is for scripts and always has this form.
    pub(crate) fn report(&self) {
        if self.all.ignored > 0 {
            ui::say(format_args!("{} ignored, which counts as a failure", self.all.ignored));
        }
        if self.kernel == 0 {
            ui::say("no kernel test has run, which counts as a failure");
        }
        ui::say(format_args!("kernel tests among them: {}", self.kernel));
        ui::say(format_args!("{} passed, {} failed", self.all.passed, self.all.failed));
    }

    const fn add(&mut self, counts: Counts, kernel: bool) {
        self.all.passed += counts.passed;
        self.all.failed += counts.failed;
        self.all.ignored += counts.ignored;
        if kernel {
            self.kernel += (counts.passed + counts.failed).saturating_sub(counts.not_kernel);
        }
    }
}

/// Runs all and prints the closing lines.
pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    let totals = run(workspace)?;
    totals.report();
    Ok(if totals.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all; the caller reports. Errors are for what stops the tests from running at all.
pub(crate) fn run(workspace: &Workspace) -> Result<Totals> {
    let can_run_kernel_tests = precheck::kernel();
    if let Err(reason) = &can_run_kernel_tests {
        ui::warn(format_args!("error: kernel tests cannot run here: {reason}"));
    }
    setup::run(workspace, false)?;
    build_ebpf::run(workspace)?;
    let programs = build::all(workspace)?;
    let (kernel, unit): (Vec<_>, Vec<_>) =
        programs.iter().partition(|program| program.is_kernel_test());

    let mut totals = Totals::default();
    for program in unit {
        totals.add(run_program(program, &[])?, false);
    }
    totals.add(run_doc_tests(workspace)?, false);
    match can_run_kernel_tests {
        // One at a time: they share the machine's cgroups, pins and processors.
        Ok(()) => {
            for program in kernel {
                totals.add(run_program(program, &["--test-threads=1"])?, true);
            }
        }
        Err(reason) => {
            ui::warn(format_args!("error: kernel tests cannot run here: {reason}"));
            totals.all.failed += 1;
        }
    }
    Ok(totals)
}

fn run_program(program: &Program, args: &[&str]) -> Result<Counts> {
    ui::step("test", format_args!("{} {}", program.package, program.target));
    let mut command = Command::new(&program.executable);
    command
        .args(args)
        // As `cargo test` does it: tests find their files below the package.
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .env("CARGO_PKG_NAME", &program.package);
    count(&mut command)
}

fn run_doc_tests(workspace: &Workspace) -> Result<Counts> {
    ui::step("test", "examples in the documentation");
    count(workspace.cargo().args(["test", "--quiet", "--doc"]).args(build::PACKAGES))
}

/// Streams the program's output through while counting. A program that ends badly without
/// saying that a test failed (a crash, an abort) counts as one failed test.
fn count(command: &mut Command) -> Result<Counts> {
    let line = process::show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let output = child.stdout.take().context("the pipe to the test program is gone")?;
    let mut counts = libtest::stream(output, &mut std::io::stdout(), NOT_KERNEL)
        .with_context(|| format!("cannot read the output of `{line}`"))?;
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() && counts.failed == 0 {
        ui::warn(format_args!("error: `{line}` ended with {status}"));
        counts.failed = 1;
    }
    Ok(counts)
}
