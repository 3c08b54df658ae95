//! One trial: starts the child, waits for it, and reads what the programs counted.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{process, thread};

use mesh_common::counter::BackendCounters;

use super::image::{tcp_backend, udp_backend};
use super::verdict::{Tried, Verdict, settled, verdict};
use super::{Family, Finding, Ports};
use crate::maps::kernel::KernelMaps;
use crate::maps::{MapError, MapStore as _};

/// Longest life of the child: each probe of both families waits in vain.
const CHILD: Duration = Duration::from_secs(15);
/// Longest wait for the counters of what the child has closed.
const COUNTED: Duration = Duration::from_secs(1);
/// Rest between two looks.
const REST: Duration = Duration::from_millis(2);
/// Name of the child's cgroup, before the agent's process id.
const CGROUP: &str = "mesh-canary-";

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The child cannot be started or read.
    #[error("cannot run the canary: {0}")]
    Child(#[source] io::Error),
    /// The child found nothing.
    #[error("the canary failed: {0}")]
    Failed(String),
    /// The child did not end.
    #[error("the canary did not end within {} s", CHILD.as_secs())]
    Late,
    /// The counters cannot be read.
    #[error(transparent)]
    Maps(#[from] MapError),
}

/// What each trial needs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Where the programs are attached.
    pub cgroup: PathBuf,
    /// Where maps are pinned.
    pub pin_path: PathBuf,
    /// Where the agent listens.
    pub ports: Ports,
}

impl Trial {
    /// Tries every program. Blocks for some milliseconds where all is well. What does not go well
    /// is tried once more: a busy machine may have been late.
    pub fn run(&self) -> Result<Verdict, TrialError> {
        match self.once() {
            Ok(verdict) if verdict.values().all(super::verdict::Fires::is_good) => Ok(verdict),
            Ok(_) | Err(_) => self.once(),
        }
    }

    fn once(&self) -> Result<Verdict, TrialError> {
        sweep(&self.cgroup);
        let maps = KernelMaps::open(&self.pin_path)?;
        let before = counters(&maps)?;
        let findings = self.child()?;
        let deadline = Instant::now() + COUNTED;
        loop {
            let tried = self.tried(&findings, &before, &counters(&maps)?);
            if settled(&tried) || Instant::now() > deadline {
                return Ok(verdict(&tried));
            }
            thread::sleep(REST);
        }
    }

    /// Has the child make its probes.
    fn child(&self) -> Result<Vec<Finding>, TrialError> {
        let cgroup = self.cgroup.join(format!("{CGROUP}{}", process::id()));
        // This very program, also where its file has been replaced.
        let mut command = Command::new("/proc/self/exe");
        command.arg("canary").arg("--cgroup").arg(&cgroup).args(["--token", &self.ports.token]);
        for (family, flag) in [(Family::V4, "--v4"), (Family::V6, "--v6")] {
            if self.ports.of(family).is_some() {
                command.arg(flag);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(TrialError::Child)?;
        let ended = wait(&mut child);
        // Where it could not do so itself.
        drop(fs::remove_dir(&cgroup));
        let success = ended?;
        let mut text = String::new();
        if success {
            child.stdout.take().map(|mut it| it.read_to_string(&mut text)).transpose()
        } else {
            child.stderr.take().map(|mut it| it.read_to_string(&mut text)).transpose()
        }
        .map_err(TrialError::Child)?;
        if !success {
            return Err(TrialError::Failed(text.trim().to_owned()));
        }
        serde_json::from_str(&text).map_err(|error| TrialError::Failed(error.to_string()))
    }

    fn tried(
        &self,
        findings: &[Finding],
        before: &[Counted],
        after: &[Counted],
    ) -> Vec<(Family, Tried)> {
        let of = |family| findings.iter().filter(move |it| it.family == family).cloned().collect();
        before
            .iter()
            .zip(after)
            .map(|(before, after)| {
                let findings = match self.ports.unavailable(before.family) {
                    Some(reason) => Err(reason.to_owned()),
                    None => Ok(of(before.family)),
                };
                let (tcp, udp) = (after.tcp.since(before.tcp), after.udp.since(before.udp));
                (before.family, Tried { findings, tcp, udp })
            })
            .collect()
    }
}

/// Counters of a family's backends.
struct Counted {
    family: Family,
    tcp: BackendCounters,
    udp: BackendCounters,
}

fn counters(maps: &KernelMaps) -> Result<Vec<Counted>, MapError> {
    let limits = maps.limits();
    let of = |family| {
        Ok(Counted {
            family,
            tcp: maps.backend_counters(tcp_backend(limits, family))?,
            udp: maps.backend_counters(udp_backend(limits, family))?,
        })
    };
    Family::ALL.into_iter().map(of).collect()
}

/// Waits until the child has ended, and says whether it did well. What it prints fits into a
/// pipe, so it never waits for us.
fn wait(child: &mut Child) -> Result<bool, TrialError> {
    let deadline = Instant::now() + CHILD;
    loop {
        if let Some(status) = child.try_wait().map_err(TrialError::Child)? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).map_err(TrialError::Child)?;
            return Err(TrialError::Late);
        }
        thread::sleep(REST);
    }
}

/// Removes the cgroups of canaries that were killed together with their agent.
fn sweep(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(agent) = name.to_str().and_then(|name| name.strip_prefix(CGROUP)) else {
            continue;
        };
        let lives = Path::new("/proc").join(agent).exists();
        if !lives || agent == process::id().to_string() {
            // One that still has a process stays until that has ended.
            drop(fs::remove_dir(entry.path()));
        }
    }
}
