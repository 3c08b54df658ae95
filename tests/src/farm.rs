//! A node whose backends are machines of their own: each a namespace behind a pair of interfaces,
//! with one server process, so that each can fail by itself and in every way.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backend::Backends;
use crate::guards::Guards;
use crate::load::Mode;
use crate::manifest::Manifest;
use crate::netns::NetNs;
use crate::process::Place;
use crate::require;
use crate::tap::Tap;
use crate::testbed::{PORT, SMALL, Testbed, VIP};

/// Port of each server for health checks, beside `PORT`.
pub const HEALTH_PORT: u16 = 8081;
/// What `Member::tell` calls that one.
pub const HEALTH: &str = "health";

/// A node and its backends. Fields drop in order: backends first.
#[derive(Debug)]
pub struct Farm {
    /// `b0`, `b1`, …
    pub members: Vec<Member>,
    pub bed: Testbed,
    name: String,
}

/// A backend: its namespace, its address there, its server.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub ip: Ipv4Addr,
    server: Option<Backends>,
    mode: Mode,
    pub netns: NetNs,
}

impl Farm {
    /// Starts a node of this name and so many backends. Nothing is applied yet.
    pub fn start(name: &str, members: u8, mode: Mode) -> anyhow::Result<Self> {
        Self::start_with(name, members, mode, &[])
    }

    /// The same, with further flags of `mesh-agent run`.
    pub fn start_with(name: &str, members: u8, mode: Mode, flags: &[&str]) -> anyhow::Result<Self> {
        require::kernel()?;
        let netns = Arc::new(NetNs::create(name)?);
        let members = members_for(&netns, members, mode)?;
        let flags = [&SMALL[..], flags].concat();
        let bed = Testbed::start_in(&netns, name, &flags)?;
        Ok(Self { members, bed, name: name.to_owned() })
    }

    /// Service `web` at `VIP` with all members as endpoints; `config` is the spec of its
    /// `ServiceConfig`, with lines indented by two.
    pub fn apply(&self, config: &str) -> anyhow::Result<()> {
        self.apply_with(config, |_| String::new())
    }

    /// The same, with all endpoints on this node, whose agent then checks their health.
    pub fn apply_checked(&self, config: &str) -> anyhow::Result<()> {
        let node = format!("  node: {}\n", self.name);
        self.apply_with(config, |_| node.clone())
    }

    /// The same, with further lines for the spec of each member's endpoint.
    pub fn apply_with(&self, config: &str, more: impl Fn(&Member) -> String) -> anyhow::Result<()> {
        let mut manifest = Manifest::new().service("web", VIP, PORT);
        for member in &self.members {
            let (name, more) = (&member.name, more(member));
            manifest = manifest.endpoint_with("web", name, "v1", member.ip, &more);
        }
        self.bed.meshctl.apply(&manifest.config("web", config))?;
        Ok(())
    }

    /// What the kernel keeps about the service.
    pub fn guards(&self) -> anyhow::Result<Guards> {
        Guards::open(&self.bed.node, VIP)
    }

    /// Addresses of all members.
    #[must_use]
    pub fn ips(&self) -> Vec<Ipv4Addr> {
        self.members.iter().map(|member| member.ip).collect()
    }
}

/// Backends that clients in a namespace reach, without a mesh.
pub fn members_for(clients: &NetNs, count: u8, mode: Mode) -> anyhow::Result<Vec<Member>> {
    (0..count).map(|n| Member::start(clients, n, mode)).collect()
}

impl Member {
    fn start(clients: &NetNs, n: u8, mode: Mode) -> anyhow::Result<Self> {
        let name = format!("b{n}");
        let netns = NetNs::create(&name)?;
        let subnet = |host| Ipv4Addr::new(10, 78, n, host);
        let ip = subnet(2);
        let (own, its) = (format!("{}/24", subnet(1)), format!("{ip}/24"));
        clients.pair((&format!("up{n}"), &own), &netns, ("eth0", &its))?;
        let mut member = Self { name, ip, server: None, mode, netns };
        member.restart()?;
        Ok(member)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, PORT)
    }

    /// Every SYN for its port from now on.
    pub fn tap(&self) -> anyhow::Result<Tap> {
        Tap::start(&self.netns, PORT)
    }

    /// The server.
    pub fn server(&self) -> anyhow::Result<&Backends> {
        self.server.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    /// Starts the server (again).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server = None;
        let ports = [(self.name.as_str(), PORT), (HEALTH, HEALTH_PORT)];
        let doors = ports.map(|(name, port)| (name, SocketAddrV4::new(self.ip, port)));
        let server = Backends::obedient(&Place::in_netns(&self.netns), self.mode, &doors)?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends the server as a crash does; its kernel refuses connections from now on.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), |server| server.kill())
    }

    /// SIGSTOP: its kernel goes on to accept connections, nobody answers.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// What `Backends::tell` takes.
    pub fn tell(&self, line: &str) -> anyhow::Result<()> {
        self.server()?.tell(line)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.server()?.id().cast_signed()), signal)?)
    }
}
