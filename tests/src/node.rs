//! A node: `mesh-agent` with a cgroup, a pin path and a state folder of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::cleanup::{self, Guard};
use crate::control::API;
use crate::meshctl::{Said, run_command};
use crate::metrics::Metrics;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::require::BPFFS;
use crate::scratch::{Scratch, unique};
use crate::{bins, http};

/// Health, metrics and status of the agent, inside the namespace.
pub const HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15020);

const PATIENCE: Duration = Duration::from_secs(20);

/// Name of the agent's state folder in that of its files.
const STATE: &str = "state";

fn uninstall(pins: &Path, state: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(bins::workspace("mesh-agent")?);
    command.arg("uninstall").arg("--pin-path").arg(pins).arg("--state-dir").arg(state);
    Ok(command)
}

/// An agent and what it attaches to. Dropping it uninstalls the data path.
#[derive(Debug)]
pub struct Node {
    name: String,
    process: Option<Process>,
    netns: Arc<NetNs>,
    pins: PathBuf,
    http: SocketAddrV4,
    extra: Vec<String>,
    // Before the folder that says what is to be taken away.
    _uninstall: Guard,
    state: Scratch,
    // Last: the cgroup can only go when the agent has.
    cgroup: Cgroup,
}

impl Node {
    /// Prepares a node without starting its agent. `extra` are further flags of `run`.
    pub fn prepare(netns: &Arc<NetNs>, name: &str, extra: &[&str]) -> anyhow::Result<Self> {
        let cgroup = Cgroup::create(name)?;
        let pins = Path::new(BPFFS).join(unique(name));
        let state = Scratch::create(name)?;
        let (undo, states) = (pins.clone(), state.path().join(STATE));
        let guard = cleanup::on_exit(move || {
            if undo.exists() || states.join("mesh-envoy").exists() {
                // Best effort: what uninstall leaves, removing the pins undoes.
                if let Ok(command) = uninstall(&undo, &states) {
                    drop(run_command(command, &Place::default()));
                }
                drop(fs::remove_dir_all(&undo));
            }
        });
        Ok(Self {
            name: name.to_owned(),
            process: None,
            netns: Arc::clone(netns),
            pins,
            http: HTTP,
            state,
            extra: extra.iter().map(|flag| (*flag).to_owned()).collect(),
            _uninstall: guard,
            cgroup,
        })
    }

    /// The command line of `mesh-agent <verb>` for this node.
    pub fn command(&self, verb: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(bins::workspace("mesh-agent")?);
        command
            .arg(verb)
            .args(["--control", &format!("http://{API}"), "--node", &self.name])
            .args(["--http", &self.http.to_string()])
            .arg("--cgroup")
            .arg(self.cgroup.path())
            .arg("--pin-path")
            .arg(&self.pins)
            .arg("--state-dir")
            .arg(self.state.path().join(STATE))
            .args(&self.extra);
        Ok(command)
    }

    /// Where it answers from the next start on: a second one in a namespace needs a place of its own.
    pub const fn set_http(&mut self, http: SocketAddrV4) {
        self.http = http;
    }

    /// Other further flags of `run`, from the next start on.
    pub fn set_flags(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Starts the agent (again), without waiting.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.run_in(&self.place())
    }

    /// The same, outside of the cgroup, so that the agent outlives it.
    pub fn run_outside(&mut self) -> anyhow::Result<()> {
        self.run_in(&Place::in_netns(&self.netns))
    }

    fn run_in(&mut self, place: &Place) -> anyhow::Result<()> {
        self.process = None;
        let log = self.state.path().join("log");
        let command = self.command("run")?;
        self.process = Some(Process::spawn("mesh-agent", command, place, Some(&log))?);
        Ok(())
    }

    /// Waits for `/healthz/ready`.
    pub fn wait_ready(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("the agent is not running")?.wait_until(
            "readiness",
            PATIENCE,
            || http::get_ok(&self.netns, self.http, "/healthz/ready").is_ok(),
        )
    }

    /// Ends the agent as a crash does; the data path stays.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |process| process.kill())
    }

    /// Ends the agent as a crash does, and waits until another one is ready.
    pub fn replace(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.run()?;
        self.wait_ready()
    }

    /// Ends the agent politely; the data path stays.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        let status = process.terminate(PATIENCE)?;
        if !status.success() {
            bail!("the agent ended with {status}{}", process.tail());
        }
        Ok(())
    }

    /// Takes the data path away.
    pub fn uninstall(&self) -> anyhow::Result<Said> {
        let command = uninstall(&self.pins, &self.state.path().join(STATE))?;
        run_command(command, &Place::default())
    }

    /// `mesh-agent dump`: the maps as sorted lines.
    pub fn dump(&self) -> anyhow::Result<String> {
        let mut command = Command::new(bins::workspace("mesh-agent")?);
        command.arg("dump").arg("--pin-path").arg(&self.pins);
        let said = run_command(command, &Place::default())?;
        if said.code != Some(0) {
            bail!("dump: exit {:?}: {}", said.code, said.stderr);
        }
        Ok(said.stdout)
    }

    /// `/metrics`.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&http::get_ok(&self.netns, self.http, "/metrics")?))
    }

    /// `/status`.
    pub fn status(&self) -> anyhow::Result<Value> {
        let body = http::get_ok(&self.netns, self.http, "/status")?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Inside the node: its namespace and its cgroup.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::in_netns(&self.netns).and_cgroup(&self.cgroup)
    }

    /// What the agent calls the workload in a cgroup right below the node's.
    #[must_use]
    pub fn workload(&self, name: &str) -> String {
        let above = self.cgroup.path().file_name().unwrap_or_default().to_string_lossy();
        format!("/{above}/{name}")
    }

    /// Folder of the pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Folder of its files, gone when this is dropped.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.state.path()
    }

    /// Pin of a map.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.pins.join("maps").join(name)
    }

    /// Process id of the agent.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the agent is not running")?.id())
    }

    /// Fails with the end of its log where the agent has ended.
    pub fn check_running(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the agent is not running")?;
        match process.status()? {
            None => Ok(()),
            Some(status) => bail!("the agent ended ({status}){}", process.tail()),
        }
    }

    /// Its network namespace.
    #[must_use]
    pub const fn netns(&self) -> &Arc<NetNs> {
        &self.netns
    }

    /// The cgroup to which the programs are attached.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The same, to be removed and made again.
    pub const fn cgroup_mut(&mut self) -> &mut Cgroup {
        &mut self.cgroup
    }

    /// Waits for the agent to end by itself; whether it ended well.
    pub fn wait_end(&mut self) -> anyhow::Result<bool> {
        let process = self.process.take().context("the agent is not running")?;
        Ok(process.wait(PATIENCE)?.success())
    }

    /// The end of the agent's log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::tail)
    }
}
