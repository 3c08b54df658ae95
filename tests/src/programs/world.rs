//! Where programs run: a node with its agent and a control plane, and a second network namespace
//! behind a pair of interfaces. Clients and servers are all in the node's cgroup.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::account::{Account, Redirected, known};
use super::processors::Processors;
use super::report::{Measured, Said};
use super::sockets::{self, Seen};
use crate::manifest::Manifest;
use crate::meshctl::{self, run_command};
use crate::netns::{FAR, NetNs};
use crate::process::{Place, Process};
use crate::testbed::{self, SMALL, Testbed};
use crate::wait::eventually;

const NAME: &str = "programs";
/// How often sockets are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Where a server is, as its client sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Where {
    /// In the same network namespace.
    Here,
    /// In another one.
    Apart,
}

impl Where {
    pub(super) const BOTH: [Self; 2] = [Self::Here, Self::Apart];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Here => "one netns",
            Self::Apart => "two netns",
        }
    }
}

/// A service in front of a server.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) vip: SocketAddrV4,
    /// As in `ServiceConfig.acceleration`.
    pub(super) acceleration: &'static str,
    pub(super) backend: SocketAddrV4,
    pub(super) server: Where,
}

/// Fields drop in order.
#[derive(Debug)]
pub(super) struct World {
    pub(super) bed: Testbed,
    apart: NetNs,
    services: u8,
}

impl World {
    pub(super) fn start() -> anyhow::Result<Self> {
        let flags = [&SMALL[..], &["--access-log"]].concat();
        let bed = Testbed::start_with(NAME, &flags)?;
        let apart = NetNs::create("programs-apart")?;
        bed.netns.connect(&apart)?;
        Ok(Self { bed, apart, services: 0 })
    }

    /// Where a server listens, by its port.
    pub(super) const fn address(server: Where, port: u16) -> SocketAddrV4 {
        let ip = match server {
            Where::Here => testbed::backend(0),
            Where::Apart => FAR,
        };
        SocketAddrV4::new(ip, port)
    }

    pub(super) fn netns(&self, server: Where) -> &NetNs {
        match server {
            Where::Here => &self.bed.netns,
            Where::Apart => &self.apart,
        }
    }

    /// Where a server runs.
    pub(super) fn server(&self, server: Where) -> Place {
        Place::in_netns(self.netns(server)).and_cgroup(self.bed.node.cgroup())
    }

    /// Where clients run.
    pub(super) fn client(&self) -> Place {
        self.bed.node.place()
    }

    /// Two services in front of a server: not accelerated, and accelerated.
    pub(super) fn services(
        &mut self,
        what: &str,
        server: Where,
        port: u16,
    ) -> anyhow::Result<[Service; 2]> {
        let off = self.service(what, server, port, "Off")?;
        Ok([off, self.service(what, server, port, "On")?])
    }

    pub(super) fn service(
        &mut self,
        what: &str,
        server: Where,
        port: u16,
        acceleration: &'static str,
    ) -> anyhow::Result<Service> {
        self.services += 1;
        let name = format!("{what}-{}", self.services);
        let vip = SocketAddrV4::new(Ipv4Addr::new(10, 96, 1, self.services), port);
        let backend = Self::address(server, port);
        let manifest = Manifest::new()
            .service(&name, vip, port)
            .endpoint_with(&name, &name, "v1", *backend.ip(), &format!("  node: {NAME}\n"))
            .config(&name, &format!("  acceleration: \"{acceleration}\"\n"));
        self.bed.meshctl.apply(&manifest)?;
        Ok(Service { name, vip, acceleration, backend, server })
    }

    /// Lets a program do something through a service, and looks what the mesh says about it.
    pub(super) fn measure(
        &self,
        service: &Service,
        work: impl FnOnce() -> anyhow::Result<Said>,
    ) -> anyhow::Result<Measured> {
        let node = &self.bed.node;
        let (before, earlier) = (Account::of(node, &service.name)?, known(node)?);
        let start = Instant::now();
        let cgroup = node.cgroup().path();
        let processors = Processors::now(cgroup)?;
        let (said, sockets) = self.watched(service.backend.port(), work)?;
        let (said, took) = (said?, start.elapsed());
        let others = Processors::now(cgroup)?.others_since(&processors);
        let mut account = Account::default();
        // Ends of connections, and what they have counted, come a little later, and a reading of the
        // counters is shared for up to a second; the report says whether all came.
        drop(eventually(|| {
            let now = Account::of(node, &service.name).map_err(|error| error.to_string())?;
            account = now.since(before);
            let ended = account.opened > 0 && account.opened == account.closed;
            let right = ended && said.agrees(&account);
            if right { Ok(()) } else { Err(String::new()) }
        }));
        let redirected = Redirected::since(node, &earlier)?;
        let service = service.clone();
        Ok(Measured { service, said, took, account, redirected, sockets, others })
    }

    /// Does something while the sockets of whoever talks from or to this port are looked at.
    fn watched<T>(&self, port: u16, work: impl FnOnce() -> T) -> anyhow::Result<(T, Seen)> {
        let over = AtomicBool::new(false);
        let cgroup = self.bed.node.cgroup().path();
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = Seen::new();
                while !over.load(Ordering::Relaxed) {
                    sockets::merge(&mut seen, sockets::look(cgroup, port));
                    thread::park_timeout(LOOK);
                }
                seen
            });
            let outcome = work();
            over.store(true, Ordering::Relaxed);
            watcher.thread().unpark();
            let seen = watcher.join().map_err(|cause| anyhow!("looking at sockets: {cause:?}"))?;
            Ok((outcome, seen))
        })
    }

    /// Runs a client to its end.
    pub(super) fn run(&self, command: Command) -> anyhow::Result<meshctl::Said> {
        run_command(command, &self.client())
    }

    /// What the access log of the agent says about a connection, by the client's port and the
    /// service's address, once it does: bytes sent and received.
    pub(super) fn logged(&self, service: &Service, port: u16) -> Option<(u64, u64)> {
        let log = self.bed.node.scratch().join("log");
        let mut found = None;
        drop(eventually(|| {
            let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
            found = text.lines().rev().find_map(|line| record(line, service.vip, port));
            found.map(drop).ok_or_else(String::new)
        }));
        found
    }
}

/// Bytes sent and received, if a line is about this connection.
fn record(line: &str, vip: SocketAddrV4, port: u16) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let source: SocketAddr = field("src.addr")?.parse().ok()?;
    if source.port() != port || field("dst.frontend")? != vip.to_string() {
        return None;
    }
    Some((field("bytes_sent")?.parse().ok()?, field("bytes_recv")?.parse().ok()?))
}

/// Waits until a server accepts connections.
pub(super) fn wait_listening(
    process: &Process,
    netns: &NetNs,
    address: SocketAddr,
) -> anyhow::Result<()> {
    process.wait_until("listening socket", Duration::from_secs(20), || {
        matches!(netns.run(|| TcpStream::connect(address)), Ok(Ok(_)))
    })
}
