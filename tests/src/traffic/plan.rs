//! What a traffic generator is asked to do, and its command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::Command;
use std::time::Duration;

use crate::bins;
use crate::load::Mode;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Address to connect to.
    pub target: SocketAddr,
    /// What a connection carries.
    pub mode: Mode,
    /// Connections at a time.
    pub concurrency: NonZeroU32,
    /// Rest of each thread between two connections.
    pub pause: Duration,
    /// Connections that each thread keeps open while it makes the next.
    pub hold: u32,
    /// A server that is silent for so long has failed.
    pub patience: Duration,
    /// Only count outcomes, where there are too many for a record of each.
    pub tally: bool,
}

impl Plan {
    /// One connection after the other, without rest.
    #[must_use]
    pub fn to(target: impl Into<SocketAddr>, mode: Mode) -> Self {
        let target = target.into();
        Self {
            target,
            mode,
            concurrency: NonZeroU32::MIN,
            pause: Duration::ZERO,
            hold: 0,
            patience: Duration::from_secs(10),
            tally: false,
        }
    }

    /// The client that does it: `count` connections, or on until its input closes.
    pub(super) fn command(self, count: Option<u64>) -> anyhow::Result<Command> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .arg("run")
            .args(["--target", &self.target.to_string()])
            .args(["--mode", self.mode.as_str()])
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--pause-us", &self.pause.as_micros().to_string()])
            .args(["--hold", &self.hold.to_string()])
            .args(["--patience-ms", &self.patience.as_millis().to_string()]);
        if self.tally {
            command.arg("--tally");
        }
        if let Some(count) = count {
            command.args(["--count", &count.to_string()]);
        }
        Ok(command)
    }
}

/// Sockets that stay open and exchange again and again.
#[derive(Clone, Debug)]
pub struct Flows {
    /// `Mode::UdpSendto` asks all of them in turn from each socket; in the other modes, flow
    /// `n` has the address `n` (modulo their number).
    pub targets: Vec<SocketAddr>,
    /// `Ping`, `Udp` or `UdpSendto`.
    pub mode: Mode,
    /// Number of sockets.
    pub flows: NonZeroU32,
    /// Rest between two exchanges of a socket.
    pub pause: Duration,
    /// A datagram without an answer is given up after so long.
    pub patience: Duration,
}

impl Flows {
    /// One socket, a thousand exchanges a second at most.
    #[must_use]
    pub fn to(target: impl Into<SocketAddr>, mode: Mode) -> Self {
        Self {
            targets: vec![target.into()],
            mode,
            flows: NonZeroU32::MIN,
            pause: Duration::from_millis(1),
            patience: Duration::from_secs(5),
        }
    }

    /// The client that does it: `count` exchanges of each, or on until its input closes.
    pub(super) fn command(&self, count: Option<u64>) -> anyhow::Result<Command> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .arg("flow")
            .args(["--mode", self.mode.as_str()])
            .args(["--flows", &self.flows.to_string()])
            .args(["--pause-us", &self.pause.as_micros().to_string()])
            .args(["--patience-ms", &self.patience.as_millis().to_string()]);
        for target in &self.targets {
            command.args(["--target", &target.to_string()]);
        }
        if let Some(count) = count {
            command.args(["--count", &count.to_string()]);
        }
        Ok(command)
    }
}
