//! Where the programs under test are: beside the running test or demo, in the same profile,
//! unless `MESH_BIN_DIR` says otherwise.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// `target/<profile>` of the running executable (test executables live one deeper, in `deps`).
pub fn own_dir() -> anyhow::Result<PathBuf> {
    let exe = env::current_exe().context("path of the running program")?;
    let dir = exe.parent().unwrap_or_else(|| Path::new("/"));
    Ok(if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir).to_path_buf()
    } else {
        dir.to_path_buf()
    })
}

/// A program of the workspace: `mesh-control`, `mesh-agent`, `meshctl`.
pub fn workspace(name: &str) -> anyhow::Result<PathBuf> {
    let own = own_dir()?;
    let dir = env::var_os("MESH_BIN_DIR").map_or_else(|| own.clone(), PathBuf::from);
    let path = dir.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let release = if own.ends_with("release") { "--release " } else { "" };
    bail!(
        "{} is missing: build it with `cargo build {release}-p mesh-control -p mesh-agent -p meshctl`",
        path.display()
    )
}

/// A helper of this crate, beside the running program.
pub fn helper(name: &str) -> anyhow::Result<PathBuf> {
    let path = own_dir()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!("{} is missing: build it with `cargo build -p mesh-tests --bins`", path.display())
}

/// A program of the system, if installed. The administrator's folders are searched as well,
/// since `PATH` often lacks them.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}
