//! Runs the real `meshctl` and returns what it said.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bins;
use crate::control::API;
use crate::manifest::Manifest;
use crate::netns::NetNs;
use crate::process::Place;
use crate::scratch::Scratch;

/// A person at the command line.
#[derive(Debug)]
pub struct Meshctl {
    netns: Arc<NetNs>,
    scratch: Scratch,
    files: AtomicU32,
}

/// What one call did.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From before the process was started until it had ended.
    pub took: Duration,
}

impl From<(Output, Duration)> for Said {
    fn from((output, took): (Output, Duration)) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        }
    }
}

/// Runs a command to its end in `place`, with no input.
pub fn run_command(mut command: Command, place: &Place) -> anyhow::Result<Said> {
    command.stdin(Stdio::null());
    place.confine(&mut command);
    let start = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok((output, start.elapsed()).into())
}

impl Meshctl {
    /// In the namespace of a control plane.
    pub fn new(netns: &Arc<NetNs>) -> anyhow::Result<Self> {
        Ok(Self {
            netns: Arc::clone(netns),
            scratch: Scratch::create("meshctl")?,
            files: AtomicU32::new(0),
        })
    }

    /// Runs it with `args`, whatever comes out.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        let mut command = Command::new(bins::workspace("meshctl")?);
        command.env("MESH_SERVER", format!("http://{API}")).args(args);
        run_command(command, &Place::in_netns(&self.netns))
    }

    /// Runs it with `args`; anything but exit code 0 is an error.
    pub fn ok(&self, args: &[&str]) -> anyhow::Result<Said> {
        let said = self.run(args)?;
        if said.code != Some(0) {
            bail!(
                "meshctl {}: exit {:?}\n{}{}",
                args.join(" "),
                said.code,
                said.stdout,
                said.stderr
            );
        }
        Ok(said)
    }

    /// Folder of its files, gone when this is dropped.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a manifest to a file and returns its path.
    pub fn file(&self, manifest: &Manifest) -> anyhow::Result<String> {
        let n = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.write(&format!("{n}.yaml"), manifest.as_str())?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// `apply --wait` of manifests given as text.
    pub fn apply_text(&self, text: &str) -> anyhow::Result<Said> {
        self.apply(&Manifest::from_text(text))
    }

    /// `apply --wait`: returns when every node serves it from its kernel.
    pub fn apply(&self, manifest: &Manifest) -> anyhow::Result<Said> {
        let file = self.file(manifest)?;
        self.ok(&["apply", "--wait", "-f", &file])
    }
}
