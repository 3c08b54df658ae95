//! Programs that cargo installs: bpf-linker, cargo-deny; and clippy for a rustup nightly.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::toolchain::{self, Compiler, LINKER_VERSION};
use crate::workspace::Workspace;
use crate::{process, ui};

/// What `cargo xtask ci` checks licences, bans and sources with.
const DENY_VERSION: &str = "0.20.2";

const LLVM: &str = "/usr/lib/llvm-22";

/// Gives the place of bpf-linker, after installing it if need be.
pub(super) fn bpf_linker(workspace: &Workspace, compiler: Compiler) -> Result<String> {
    if let Some(path) = toolchain::find_linker() {
        return Ok(format!("{LINKER_VERSION}: {}", path.display()));
    }
    let mut install = install(workspace, "bpf-linker", LINKER_VERSION);
    match compiler {
        // Its own newest LLVM fits nightly's.
        Compiler::RustupNightly => {}
        Compiler::Debian => {
            install
                .args(["--no-default-features", "--features", "llvm-22"])
                .env("LLVM_SYS_221_PREFIX", LLVM)
                .env("LLVM_PREFIX", LLVM)
                .env("RUSTFLAGS", format!("-L {LLVM}/lib"));
        }
    }
    timed("bpf-linker", "about 2 minutes", &mut install)?;
    let path = toolchain::find_linker()
        .context("bpf-linker was installed but does not start; see its output above")?;
    Ok(format!("{LINKER_VERSION}: {}", path.display()))
}

/// Gives the version of cargo-deny, after installing it if need be.
pub(super) fn cargo_deny(workspace: &Workspace) -> Result<&'static str> {
    if deny(workspace)?.is_none() {
        // No TLS, no git: the checks that need the network (advisories) are not run.
        let mut install = install(workspace, "cargo-deny", DENY_VERSION);
        timed("cargo-deny", "some minutes", install.arg("--no-default-features"))?;
    }
    if deny(workspace)?.is_none() {
        bail!("cargo-deny was installed but does not start; see its output above");
    }
    Ok(DENY_VERSION)
}

/// The installed cargo-deny, if it has the right version.
fn deny(workspace: &Workspace) -> Result<Option<()>> {
    let path = toolchain::cargo_bin()?.join("cargo-deny");
    let mut version = Command::new(path);
    version.arg("--version").current_dir(&workspace.root);
    let right =
        process::read(&mut version).is_ok_and(|text| text.trim_end().ends_with(DENY_VERSION));
    Ok(right.then_some(()))
}

/// Makes sure of clippy for the BPF compiler; Debian's came with the packages.
pub(super) fn clippy(compiler: Compiler) -> Result<&'static str> {
    if compiler.has_clippy() {
        return Ok("clippy for the BPF compiler is there");
    }
    match compiler {
        Compiler::RustupNightly => {
            process::run(Command::new("rustup").args([
                "component",
                "add",
                "--toolchain",
                "nightly",
                "clippy",
            ]))?;
            Ok("added clippy to nightly")
        }
        Compiler::Debian => {
            bail!("clippy-driver is missing; run: sudo apt-get install rust-web-clippy")
        }
    }
}

fn install(workspace: &Workspace, name: &str, version: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(["install", name, "--version", version, "--locked"]);
    // A left-over of `cargo run`: it would point the tools at this toolchain's libraries.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

fn timed(name: &str, expected: &str, command: &mut Command) -> Result<()> {
    say(format_args!("installing {name} ({expected}): {}", process::show(command)));
    let start = Instant::now();
    process::run(command)?;
    say(format_args!("installed {name} in {}", ui::duration(start.elapsed())));
    Ok(())
}
