//! Backend servers: one `mesh-load serve` process plays any number of them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::bins;
use crate::load::Mode;
use crate::process::{Place, Process};

/// Running servers; stopped on drop.
#[derive(Debug)]
pub struct Backends {
    process: Process,
}

impl Backends {
    /// Starts servers with these names and addresses and waits until they listen.
    pub fn start(
        place: &Place,
        mode: Mode,
        servers: &[(&str, impl Copy + Into<SocketAddr>)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command.args(["serve", "--mode", mode.as_str()]);
        for (name, address) in servers {
            let address: SocketAddr = (*address).into();
            command.arg("--listen").arg(format!("{name}={address}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let process = Process::spawn("backends", command, place, None)?;
        let stdout =
            process.with_child(|child| child.stdout.take()).context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the backends did not start (their reason is above)");
        }
        Ok(Self { process })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
