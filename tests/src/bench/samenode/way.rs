//! The ways from one program to the other, each with its client, and the world they share.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use super::super::transport::Transport;
use super::case::Case;
use crate::accel::{Bed, Pairs, Route, sent_segments};
use crate::bins;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;
use crate::stats::float;

/// A way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Direct,
    DirectAgain,
    Mesh,
    Accelerated,
    Unix,
}

impl Way {
    pub(super) const ALL: [Self; 5] =
        [Self::Direct, Self::DirectAgain, Self::Mesh, Self::Accelerated, Self::Unix];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectAgain => "direct again (noise floor)",
            Self::Mesh => "mesh",
            Self::Accelerated => "mesh, accelerated",
            Self::Unix => "Unix socket (the limit)",
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectAgain => "direct_again",
            Self::Mesh => "mesh",
            Self::Accelerated => "accelerated",
            Self::Unix => "unix",
        }
    }
}

/// Servers outside of the mesh and in it.
const OUTSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7001);
const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7002);
/// Two services in front of the same server.
const PLAIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
const FAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 2), 80);

/// One namespace. Fields drop in order.
pub(super) struct World {
    bed: Bed,
    pub(super) pairs: Pairs,
    pub(super) netns: NetNs,
    scratch: Scratch,
    cpu: usize,
}

impl World {
    pub(super) fn start(cpu: usize, transport: &Transport) -> anyhow::Result<Self> {
        let mut bed = Bed::start("samenode")?;
        for (number, vip, accelerated) in [(1, PLAIN, false), (2, FAST, true)] {
            bed.route(&Route { number, vip, backend: INSIDE, accelerated })?;
        }
        let pairs = bed.pairs()?;
        let netns = NetNs::create("samenode")?;
        transport.apply(&netns)?;
        Ok(Self { bed, pairs, netns, scratch: Scratch::create("samenode")?, cpu })
    }

    /// Servers of their own for a case; they end when dropped.
    pub(super) fn servers(&self, case: &Case) -> anyhow::Result<[Process; 2]> {
        let path = self.scratch.path().join(case.key);
        let path = path.to_string_lossy();
        let outside = server(&self.outside(case), &[&OUTSIDE.to_string(), &path])?;
        Ok([outside, server(&self.inside(case), &[&INSIDE.to_string()])?])
    }

    fn outside(&self, case: &Case) -> Place {
        Place::in_netns(&self.netns).and_cpu(case.pinned.then_some(self.cpu))
    }

    fn inside(&self, case: &Case) -> Place {
        self.bed.place(&self.netns).and_cpu(case.pinned.then_some(self.cpu))
    }

    /// A client, connected where it keeps connections.
    pub(super) fn client(&self, way: Way, case: &Case) -> anyhow::Result<Client> {
        let (place, target) = match way {
            Way::Direct | Way::DirectAgain => (self.outside(case), OUTSIDE.to_string()),
            Way::Mesh => (self.inside(case), PLAIN.to_string()),
            Way::Accelerated => (self.inside(case), FAST.to_string()),
            Way::Unix => {
                let path = self.scratch.path().join(case.key);
                (self.outside(case), path.to_string_lossy().into_owned())
            }
        };
        Client::start(way, case, &place, &target)
    }

    /// Segments that TCP sent meanwhile.
    pub(super) fn segments<T>(
        &self,
        what: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, u64)> {
        let before = sent_segments(&self.netns)?;
        let outcome = what()?;
        Ok((outcome, sent_segments(&self.netns)? - before))
    }

    /// Messages and bytes that went past the network stack on these connections.
    pub(super) fn redirected(&self, cookies: &[u64]) -> anyhow::Result<(u64, u64)> {
        let (mut messages, mut bytes) = (0_u64, 0);
        for cookie in cookies {
            let Some(pair) = self.pairs.of(*cookie)? else { continue };
            messages += u64::from(pair.sent.messages) + u64::from(pair.received.messages);
            bytes += pair.sent.bytes + pair.received.bytes;
        }
        Ok((messages, bytes))
    }
}

/// A server that listens.
fn server(place: &Place, addresses: &[&str]) -> anyhow::Result<Process> {
    let mut command = Command::new(bins::helper("mesh-load")?);
    command.arg("reply");
    for address in addresses {
        command.args(["--listen", address]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let process = Process::spawn("server", command, place, None)?;
    let stdout = process.with_child(|child| child.stdout.take()).context("no output")?;
    let mut line = String::new();
    if BufReader::new(stdout).read_line(&mut line)? == 0 {
        bail!("the server did not start (its reason is above)");
    }
    Ok(process)
}

/// A client process that waits for its turn.
pub(super) struct Client {
    pub(super) way: Way,
    /// Of its connections.
    pub(super) cookies: Vec<u64>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Process,
}

/// What a turn took: nanoseconds for each exchange of it, and the median exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    pub(super) each_ns: f64,
    pub(super) median_ns: f64,
}

impl Client {
    fn start(way: Way, case: &Case, place: &Place, target: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .args(["swarm", "--target", target])
            .args(["--connections", &case.connections.to_string()])
            .args(["--send", &case.bytes.0.to_string()])
            .args(["--receive", &case.bytes.1.to_string()]);
        if case.once {
            command.arg("--once");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::spawn(way.name(), command, place, None)?;
        let (stdin, stdout) = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
        let mut client = Self {
            way,
            cookies: Vec::new(),
            stdin: stdin.context("no standard input")?,
            stdout: BufReader::new(stdout.context("no standard output")?),
            _process: process,
        };
        let words = client.line()?;
        let cookies = words.split_whitespace().skip(1).map(str::parse);
        client.cookies = cookies.collect::<Result<_, _>>()?;
        Ok(client)
    }

    /// Makes so many exchanges.
    pub(super) fn turn(&mut self, count: u32) -> anyhow::Result<Took> {
        writeln!(self.stdin, "{count}")?;
        let line = self.line()?;
        let (all, median) = line.trim().split_once(' ').context("two figures were expected")?;
        let each_ns = float(all.parse()?) / f64::from(count);
        Ok(Took { each_ns, median_ns: float(median.parse()?) })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the client of {:?} ended (its reason is above)", self.way.name());
        }
        Ok(line)
    }
}
