//! A control plane process with a data folder of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;
use crate::{bins, http};

/// The API and xDS, inside the namespace.
pub const API: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15010);
/// Health and metrics.
pub const HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15014);

const PATIENCE: Duration = Duration::from_secs(20);

/// `mesh-control` in a namespace; its data survives `kill` and `start`.
#[derive(Debug)]
pub struct ControlPlane {
    process: Option<Process>,
    netns: Arc<NetNs>,
    extra: Vec<String>,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts one and waits until it is healthy.
    pub fn start(netns: &Arc<NetNs>) -> anyhow::Result<Self> {
        Self::start_with(netns, &[])
    }

    /// The same, with further flags.
    pub fn start_with(netns: &Arc<NetNs>, extra: &[&str]) -> anyhow::Result<Self> {
        let mut control = Self {
            process: None,
            netns: Arc::clone(netns),
            extra: extra.iter().map(|flag| (*flag).to_owned()).collect(),
            scratch: Scratch::create("control")?,
        };
        control.restart()?;
        Ok(control)
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let mut command = Command::new(bins::workspace("mesh-control")?);
        command.arg("--data-dir").arg(self.scratch.path().join("data")).args([
            "--listen",
            &API.to_string(),
            "--http",
            &HTTP.to_string(),
            // Agents are near: what is tested after a start need not wait for long.
            "--health-warmup",
            "5s",
        ]);
        command.args(&self.extra);
        let log = self.scratch.path().join("log");
        let place = Place::in_netns(&self.netns);
        let process = Process::spawn("mesh-control", command, &place, Some(&log))?;
        process.wait_until("healthy answer", PATIENCE, || {
            http::get_ok(&self.netns, HTTP, "/healthz").is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Folder of its files, gone when this is dropped.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Process id.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the control plane is not running")?.id())
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |process| process.kill())
    }
}
