//! Builds every test program in one go and learns from cargo's messages where they are.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::KERNEL_PACKAGE;
use crate::process;
use crate::workspace::Workspace;

/// All members but the one that has no host build.
pub(super) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "mesh-ebpf"];

/// One test program.
#[derive(Debug)]
pub(super) struct Program {
    /// The package it tests.
    pub(super) package: String,
    /// The target within: the library, a binary, or an integration test.
    pub(super) target: String,
    /// The package's folder.
    pub(super) folder: PathBuf,
    /// What to run.
    pub(super) executable: PathBuf,
    integration: bool,
}

impl Program {
    /// Does it need root and BPF?
    pub(super) fn is_kernel_test(&self) -> bool {
        self.integration && self.package == KERNEL_PACKAGE
    }
}

/// Builds the tests, and the programs that the kernel tests start.
pub(super) fn all(workspace: &Workspace) -> Result<Vec<Program>> {
    process::run(workspace.cargo().args(["build", "--bins"]).args(PACKAGES))?;

    let mut command = workspace.cargo();
    command
        .args(["test", "--no-run", "--message-format", "json-render-diagnostics"])
        .args(PACKAGES)
        .stdout(Stdio::piped());
    let line = process::show(&command);
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let messages = child.stdout.take().context("the pipe to cargo is gone")?;
    let mut programs = Vec::new();
    for message in BufReader::new(messages).lines() {
        programs.extend(program(workspace, &message.context("cannot read cargo's messages")?)?);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The test program that a message announces, if it does.
fn program(workspace: &Workspace, message: &str) -> Result<Option<Program>> {
    let message: Message =
        serde_json::from_str(message).context("cargo printed something unexpected")?;
    let Message { reason, package_id, target, profile, executable } = message;
    let (Some(id), Some(target), Some(profile), Some(executable)) =
        (package_id, target, profile, executable)
    else {
        return Ok(None);
    };
    if reason != "compiler-artifact" || !profile.test {
        return Ok(None);
    }
    let package = workspace
        .packages
        .iter()
        .find(|package| package.id == id)
        .with_context(|| format!("cargo built a test of {id}, which is no member"))?;
    let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
    Ok(Some(Program {
        package: package.name.clone(),
        target: target.name,
        folder: folder.to_path_buf(),
        executable,
        integration: target.kind.iter().any(|kind| kind == "test"),
    }))
}
