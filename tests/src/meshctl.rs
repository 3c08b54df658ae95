//! Runs the real `meshctl` and returns what it said.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bins;
use crate::control::API;
use crate::manifest::Manifest;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;

/// A person at the command line.
#[derive(Debug)]
pub struct Meshctl {
    netns: Arc<NetNs>,
    env: Vec<(String, String)>,
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

/// A command that runs longer than this hangs.
const LONGEST: Duration = Duration::from_mins(5);

/// Runs a command to its end in `place`, with no input. One that does not end is killed.
pub fn run_command(mut command: Command, place: &Place) -> anyhow::Result<Said> {
    let name = command.get_program().display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let process = Process::spawn(&name, command, place, None)?;
    let (stdout, stderr) = process.with_child(|child| (child.stdout.take(), child.stderr.take()));
    let (stdout, stderr) = (stdout.context("no standard output")?, stderr.context("no errors")?);
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let process = &process;
        let watch = scope.spawn(move || {
            let late = ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout);
            if late {
                process.kill().ok();
            }
            late
        });
        let stderr = scope.spawn(|| read_all(stderr));
        // Both end when the process does.
        let stdout = read_all(stdout);
        let stderr = stderr.join().unwrap_or_default();
        let took = start.elapsed();
        drop(done);
        if watch.join().unwrap_or(true) {
            bail!("{name} still ran after {LONGEST:?}: {stdout}{stderr}");
        }
        let status = process.wait(LONGEST)?;
        Ok(Said { code: status.code(), stdout, stderr, took })
    })
}

fn read_all(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is all there is.
    drop(from.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Meshctl {
    /// In the namespace of a control plane.
    pub fn new(netns: &Arc<NetNs>) -> anyhow::Result<Self> {
        Ok(Self {
            netns: Arc::clone(netns),
            env: Vec::new(),
            scratch: Scratch::create("meshctl")?,
            files: AtomicU32::new(0),
        })
    }

    /// Runs it from now on with this in its environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Runs it with `args`, whatever comes out.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        let mut command = Command::new(bins::workspace("meshctl")?);
        command.env("MESH_SERVER", format!("http://{API}"));
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(args);
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
