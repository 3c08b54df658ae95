//! Finds the compiler that can build `core` for BPF, and bpf-linker. Looks only; `setup` installs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// The target of the eBPF programs: little-endian, no operating system.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The linker that turns LLVM bitcode into one BPF object with BTF.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// What every object is built with: debug info becomes BTF, `v3` has 32-bit jumps and all atomics.
pub(crate) const RUSTFLAGS: [&str; 6] =
    ["-C", "debuginfo=2", "-C", "target-cpu=v3", "-C", "link-arg=--btf"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// A compiler that has the source of its own `core` beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly with the component rust-src.
    RustupNightly,
    /// Debian's `rustc-web` with `rust-web-src`; stable, so it needs `RUSTC_BOOTSTRAP`.
    Debian,
}

impl Compiler {
    /// Tries both, upstream's way first.
    pub(crate) fn find() -> Option<Self> {
        let mut nightly = Command::new("rustup");
        nightly.args(["run", "nightly", "rustc", "--print", "sysroot"]);
        if has_core_source(&mut nightly) {
            return Some(Self::RustupNightly);
        }
        let mut debian = Command::new(DEBIAN_RUSTC);
        // The toolchain that runs us puts its own libraries first; they don't fit this compiler.
        debian.env_remove("LD_LIBRARY_PATH").args(["--print", "sysroot"]);
        has_core_source(&mut debian).then_some(Self::Debian)
    }

    /// What it is, for people.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::RustupNightly => "rustup nightly with rust-src",
            Self::Debian => "/usr/bin/rustc with rust-web-src",
        }
    }

    /// Clippy's driver of the same toolchain, where there is one to be named by path.
    pub(crate) fn has_clippy(self) -> bool {
        match self {
            Self::RustupNightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo", "clippy", "--version"]);
                process::read(&mut command).is_ok()
            }
            Self::Debian => Path::new(DEBIAN_CLIPPY).exists(),
        }
    }
}

/// Everything needed to compile eBPF programs.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl Toolchain {
    /// Finds both halves, or says how to get them.
    pub(crate) fn find() -> Result<Self> {
        let Some(compiler) = Compiler::find() else {
            bail!("no compiler for {TARGET} on this machine; run `cargo xtask setup`");
        };
        let Some(linker) = find_linker() else {
            bail!("bpf-linker {LINKER_VERSION} is not installed; run `cargo xtask setup`");
        };
        Ok(Self { compiler, linker })
    }

    /// Which compiler it uses.
    pub(crate) const fn compiler(&self) -> Compiler {
        self.compiler
    }

    /// `cargo SUBCOMMAND` for the eBPF crate, with a target folder of its own so that neither
    /// build invalidates the other.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = match self.compiler {
            Compiler::RustupNightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
            Compiler::Debian => {
                let mut command = process::cargo();
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command
            .arg(subcommand)
            .args(["--package", "mesh-ebpf", "--profile", "bpf", "--target", TARGET])
            .args(["-Z", "build-std=core"])
            .current_dir(&workspace.root)
            .env("CARGO_TARGET_DIR", workspace.target.join("ebpf"))
            // Wins over RUSTFLAGS of the caller, which are meant for the host.
            .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env_remove("LD_LIBRARY_PATH");
        command
    }

    /// `cargo check` that lints: clippy's driver of the BPF compiler stands in front of it.
    /// `cargo clippy` itself would pair the pinned toolchain's driver with the wrong compiler.
    pub(crate) fn clippy(&self, workspace: &Workspace) -> Result<Command> {
        if !self.compiler.has_clippy() {
            bail!(
                "clippy is missing for {}; run `cargo xtask setup --ci`",
                self.compiler.describe()
            );
        }
        let mut command = match self.compiler {
            Compiler::RustupNightly => self.cargo(workspace, "clippy"),
            Compiler::Debian => {
                let mut command = self.cargo(workspace, "check");
                command
                    .env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY)
                    .env("CLIPPY_CONF_DIR", &workspace.root)
                    .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
                command
            }
        };
        // Kept apart from the build: flags and wrapper are part of cargo's fingerprint.
        command.env("CARGO_TARGET_DIR", workspace.target.join("ebpf-clippy"));
        Ok(command)
    }
}

/// bpf-linker of the right version: on the PATH, else in cargo's folder.
pub(crate) fn find_linker() -> Option<PathBuf> {
    let candidates =
        [Some(PathBuf::from("bpf-linker")), cargo_bin().ok().map(|bin| bin.join("bpf-linker"))];
    candidates.into_iter().flatten().find(|candidate| {
        process::read(Command::new(candidate).arg("--version").env_remove("LD_LIBRARY_PATH"))
            .is_ok_and(|version| version.trim_end().ends_with(LINKER_VERSION))
    })
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    Ok(home.context("neither CARGO_HOME nor HOME is set")?.join("bin"))
}

fn has_core_source(print_sysroot: &mut Command) -> bool {
    process::read(print_sysroot).is_ok_and(|sysroot| {
        Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library/core").is_dir()
    })
}
