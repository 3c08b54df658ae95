//! The real Envoy, told by the control plane what to do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::folder;
use crate::bins;
use crate::control;
use crate::http;
use crate::meshctl::run_command;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;

/// Where it answers for itself.
pub const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15000);
const PATIENCE: Duration = Duration::from_secs(30);

/// One Envoy. It ends with this.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddrV4,
    // After the process that writes to it.
    scratch: Scratch,
}

impl Envoy {
    /// Starts it in a namespace that has a control plane, and waits until it is ready.
    pub fn start(netns: &NetNs, place: &Place, node: &str) -> anyhow::Result<Self> {
        Self::start_with(netns, place, &bootstrap_for(node, control::API.into())?, ADMIN)
    }

    /// The same, with a configuration of its own.
    pub fn start_with(
        netns: &NetNs,
        place: &Place,
        config: &str,
        admin: SocketAddrV4,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create("envoy")?;
        let bootstrap = scratch.path().join("bootstrap.json");
        fs::write(&bootstrap, config)?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(bootstrap).args(["--concurrency", "1", "--log-level", "warning"]);
        command.arg("--use-dynamic-base-id");
        let log = scratch.path().join("log");
        let process = Process::spawn("Envoy", command, place, Some(&log))?;
        let envoy = Self { process, admin, scratch };
        envoy.process.wait_until("readiness", PATIENCE, || {
            http::get_ok(netns, admin, "/ready").is_ok_and(|said| said.contains("LIVE"))
        })?;
        Ok(envoy)
    }

    /// What it has been told, as it says itself.
    pub fn dump(&self, netns: &NetNs) -> anyhow::Result<Value> {
        let text = http::get_ok(netns, self.admin, "/config_dump")?;
        serde_json::from_str(&text).context("reading Envoy's configuration")
    }

    /// A number among its statistics.
    pub fn stat(&self, netns: &NetNs, name: &str) -> anyhow::Result<u64> {
        let text = http::get_ok(netns, self.admin, &format!("/stats?filter=^{name}$"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let Some(value) = value else { return Ok(0) };
        Ok(value.trim().parse()?)
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

/// The program itself: what the package puts into `bin` is a script around it.
pub fn program() -> anyhow::Result<PathBuf> {
    let lib = folder()?.join("lib");
    for version in fs::read_dir(&lib).with_context(|| format!("read {}", lib.display()))? {
        let program = version?.path().join("site-packages/envoy/_bin/envoy");
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("no Envoy below {}", lib.display())
}

/// What it starts with, as its users get it.
fn bootstrap_for(node: &str, control: SocketAddr) -> anyhow::Result<String> {
    let mut command = Command::new(bins::workspace("mesh-agent")?);
    command.args(["envoy-bootstrap", "--node", node, "--control", &format!("http://{control}")]);
    let said = run_command(command, &Place::default())?;
    ensure!(said.code == Some(0), "envoy-bootstrap: {}", said.stderr);
    Ok(said.stdout)
}
