//! Backend servers: one `mesh-load serve` process plays any number of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};

use crate::bins;
use crate::load::Mode;
use crate::process::{Place, Process};

/// Running servers; stopped on drop.
#[derive(Debug)]
pub struct Backends {
    process: Process,
    /// Where it obeys lines.
    control: Option<Mutex<(ChildStdin, BufReader<ChildStdout>)>>,
}

/// Connections of all servers of a process, as they see them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Accepted and not closed.
    pub open: u64,
    /// The most that were open at a time.
    pub most: u64,
    /// All that were accepted.
    pub accepted: u64,
}

impl Backends {
    /// Starts servers with these names and addresses and waits until they listen.
    pub fn start(
        place: &Place,
        mode: Mode,
        servers: &[(&str, impl Copy + Into<SocketAddr>)],
    ) -> anyhow::Result<Self> {
        Self::spawn(place, mode, servers, false)
    }

    /// The same, and they obey `tell`.
    pub fn obedient(
        place: &Place,
        mode: Mode,
        servers: &[(&str, impl Copy + Into<SocketAddr>)],
    ) -> anyhow::Result<Self> {
        Self::spawn(place, mode, servers, true)
    }

    fn spawn(
        place: &Place,
        mode: Mode,
        servers: &[(&str, impl Copy + Into<SocketAddr>)],
        obedient: bool,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command.args(["serve", "--mode", mode.as_str()]);
        for (name, address) in servers {
            let address: SocketAddr = (*address).into();
            command.arg("--listen").arg(format!("{name}={address}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if obedient {
            command.arg("--control").stdin(Stdio::piped());
        }
        let process = Process::spawn("backends", command, place, None)?;
        let (stdin, stdout) = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
        let mut stdout = BufReader::new(stdout.context("no standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the backends did not start (their reason is above)");
        }
        let control = stdin.map(|stdin| Mutex::new((stdin, stdout)));
        Ok(Self { process, control })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends them as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Does as it is told, and returns when that is done: `close` and `listen` (their doors),
    /// `flap MS` (both in turns, until one of these), `status NAME CODE` (of HTTP answers).
    pub fn tell(&self, line: &str) -> anyhow::Result<()> {
        let answer = self.ask(line)?;
        ensure!(answer == "done", "{line}: {answer:?}");
        Ok(())
    }

    /// How many connections there are and were.
    pub fn seen(&self) -> anyhow::Result<Seen> {
        let answer = self.ask("count")?;
        let counts: Vec<u64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [open, most, accepted] = *counts else { bail!("count: {answer:?}") };
        Ok(Seen { open, most, accepted })
    }

    fn ask(&self, line: &str) -> anyhow::Result<String> {
        let control = self.control.as_ref().context("these servers take no orders")?;
        let (stdin, stdout) = &mut *control.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(stdin, "{line}")?;
        let mut answer = String::new();
        stdout.read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }
}
