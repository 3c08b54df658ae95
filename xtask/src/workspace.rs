//! Where things are: the answers of `cargo metadata`, asked once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// The workspace as cargo sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where builds go (`CARGO_TARGET_DIR` and configuration taken into account).
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Name, as in `-p NAME`.
    pub(crate) name: String,
    /// Cargo's identifier, as it appears in build messages.
    pub(crate) id: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// Minimum compiler.
    pub(crate) rust_version: Option<String>,
    /// Direct dependencies, of all kinds.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a member's dependency tables.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Package name.
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Only there with some feature.
    pub(crate) optional: bool,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was built from.
    pub(crate) fn load() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask must lie inside the workspace")?
            .join("Cargo.toml");
        let json = process::read(
            process::cargo()
                .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
                .arg(manifest),
        )?;
        serde_json::from_str(&json).context("cargo metadata printed something unexpected")
    }

    /// A cargo command that runs in the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = process::cargo();
        command.current_dir(&self.root);
        // The agent's build script looks below the root, where `target` is unless told otherwise.
        if self.target != self.root.join("target") {
            command.env("MESH_BPF_OBJECT", self.bpf_objects().join("mesh.bpf.o"));
        }
        command
    }

    /// Where the finished eBPF objects lie.
    pub(crate) fn bpf_objects(&self) -> PathBuf {
        self.target.join("bpf")
    }
}
