//! The usual topology: one namespace that holds a control plane, a node, a client address and
//! backends. Addresses are the same in every testbed, since no two share a namespace.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use anyhow::Context as _;

use crate::backend::Backends;
use crate::control::ControlPlane;
use crate::load::Mode;
use crate::manifest::Manifest;
use crate::meshctl::Meshctl;
use crate::netns::NetNs;
use crate::node::Node;
use crate::process::Place;
use crate::require;

/// The service's address: nobody listens there.
pub const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
/// A service's address of the other family.
pub const VIP6: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0x10), 80, 0, 0);
/// Port of every backend.
pub const PORT: u16 = 8080;

/// Flags of `mesh-agent run` for small maps.
pub const SMALL: [&str; 6] =
    ["--max-services", "128", "--max-backends", "512", "--max-slots", "2048"];

/// Address of backend `n` (0 to 253).
#[must_use]
pub const fn backend(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, n + 1)
}

/// IPv6 address of backend `n` (0 to 253).
#[must_use]
pub const fn backend6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, n as u16 + 1)
}

/// The form in which an IPv6 socket reaches an IPv4 address; others stay as they are.
#[must_use]
pub const fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => {
            SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
        }
        SocketAddr::V6(_) => address,
    }
}

/// Everything that a test of one node needs. Fields drop in order: traffic's targets last.
#[derive(Debug)]
pub struct Testbed {
    pub meshctl: Meshctl,
    pub node: Node,
    pub control: ControlPlane,
    pub netns: Arc<NetNs>,
}

impl Testbed {
    /// Checks the preconditions and starts everything but backends. The maps are small, so
    /// that whole dumps of them stay readable.
    pub fn start(what: &str) -> anyhow::Result<Self> {
        Self::start_with(what, &SMALL)
    }

    /// The same, with further flags of `mesh-agent run`.
    pub fn start_with(what: &str, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(&namespace(what)?, what, flags)
    }

    /// The same, in a namespace that is there already.
    pub fn start_in(netns: &Arc<NetNs>, what: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let control = ControlPlane::start(netns)?;
        let mut node = Node::prepare(netns, what, flags)?;
        node.run()?;
        node.wait_ready()?;
        let netns = Arc::clone(netns);
        Ok(Self { meshctl: Meshctl::new(&netns)?, node, control, netns })
    }

    /// Starts one server for each version, named like it, at `backend(0)`, `backend(1)`, ….
    pub fn serve(&self, mode: Mode, versions: &[&str]) -> anyhow::Result<Backends> {
        let servers: Vec<_> = (0..).map(backend).zip(versions).collect();
        let servers: Vec<_> =
            servers.into_iter().map(|(ip, name)| (*name, SocketAddrV4::new(ip, PORT))).collect();
        Backends::start(&Place::in_netns(&self.netns), mode, &servers)
    }

    /// Applies service `web` at `VIP` with one endpoint for each version and these weights.
    pub fn apply_split(&self, weights: &[(&str, u32)]) -> anyhow::Result<()> {
        let mut manifest = Manifest::new().service("web", VIP, PORT);
        for (ip, (version, _)) in (0..).map(backend).zip(weights) {
            manifest = manifest.endpoint("web", &format!("web-{version}"), version, ip);
        }
        self.meshctl.apply(&manifest.split("web", weights))?;
        Ok(())
    }
}

/// A namespace with the client's addresses, 200 backend addresses and no way to the VIPs: a
/// connection that is not rewritten fails at once.
pub fn namespace(what: &str) -> anyhow::Result<Arc<NetNs>> {
    require::kernel()?;
    let netns = NetNs::create(what)?;
    netns.ip(&[
        "addr add 10.77.0.1/32 dev lo",
        "route add local 10.77.1.0/24 dev lo src 10.77.0.1",
    ])?;
    if require::ipv6() {
        netns.ip(&[
            "addr add fd77::1/128 dev lo nodad",
            "route add local fd77:0:0:1::/64 dev lo src fd77::1",
        ])?;
        // Unlike IPv4, a server may not listen on an address that is local by its route alone.
        netns
            .run(|| fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1"))?
            .context("allowing servers on any IPv6 address")?;
    }
    Ok(Arc::new(netns))
}
