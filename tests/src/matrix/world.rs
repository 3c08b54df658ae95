//! The servers of the matrix, the services before them, and the two clients that are servers
//! themselves: nginx as a proxy and dnsmasq as a forwarder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{Cell, Family, Program, Protocol, dns};
use crate::dnsmasq::Dnsmasq;
use crate::manifest::Manifest;
use crate::netns::NetNs;
use crate::nginx::{Nginx, Proxy};
use crate::process::Place;
use crate::testbed::{self, Testbed, VIP, VIP6, backend, backend6, mapped};

/// Port of the web servers and of the name servers; their services have other ones.
const WEB_PORT: u16 = 8080;
const DNS_PORT: u16 = 5353;
/// The name service: the same port over UDP and TCP.
const DNS_VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 53)), 53);
const DNS_VIP6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0x53)), 53);

/// What a server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Web,
    Dns,
}

/// Everything that cells run on. Fields drop in order: clients first.
#[derive(Debug)]
pub struct World {
    _proxies: Nginx,
    _forwarders: Vec<Dnsmasq>,
    _web: Nginx,
    _dns: Vec<Dnsmasq>,
    place: Place,
    bed: Option<Testbed>,
    netns: Arc<NetNs>,
}

impl World {
    /// Clients inside a node of the mesh, asking services.
    pub fn meshed() -> anyhow::Result<Self> {
        let bed = Testbed::start("matrix")?;
        bed.meshctl.apply(&manifest())?;
        let (netns, place) = (Arc::clone(&bed.netns), bed.node.place());
        Self::populate(netns, place, Some(bed))
    }

    /// The same without a mesh: clients ask the first backend of each family.
    pub fn direct() -> anyhow::Result<Self> {
        let netns = testbed::namespace("matrix")?;
        let place = Place::in_netns(&netns);
        Self::populate(netns, place, None)
    }

    fn populate(netns: Arc<NetNs>, place: Place, bed: Option<Testbed>) -> anyhow::Result<Self> {
        let web = Nginx::servers(&netns, &backends(Kind::Web))?;
        let servers = backends(Kind::Dns);
        let servers = servers.iter();
        let dns = servers
            .map(|(name, address)| Dnsmasq::server(&netns, name, *address, dns::NAME))
            .collect::<anyhow::Result<_>>()?;
        let meshed = bed.is_some();
        let forwarders = [Family::V4, Family::V6].into_iter().map(|family| {
            let target = target(meshed, Kind::Dns, family);
            Dnsmasq::forwarder(&netns, &place, forwarder(family), &[("", target)], None)
        });
        let forwarders = forwarders.collect::<anyhow::Result<_>>()?;
        let proxies: Vec<_> = Family::ALL
            .into_iter()
            .flat_map(|family| [(Kind::Web, family), (Kind::Dns, family)])
            .map(|(kind, family)| Proxy {
                listen: proxy(kind, family),
                target: target(meshed, kind, family),
                udp: kind == Kind::Dns,
            })
            .collect();
        let proxies = Nginx::proxies(&netns, &place, &proxies)?;
        Ok(Self {
            _proxies: proxies,
            _forwarders: forwarders,
            _web: web,
            _dns: dns,
            place,
            bed,
            netns,
        })
    }

    /// The node, where there is a mesh.
    #[must_use]
    pub const fn bed(&self) -> Option<&Testbed> {
        self.bed.as_ref()
    }

    /// Where clients start.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// The address that a cell's client is given.
    pub(super) fn target(&self, kind: Kind, family: Family) -> SocketAddr {
        target(self.bed.is_some(), kind, family)
    }

    /// Names of all backends that must answer in a cell.
    pub(super) fn names(&self, cell: Cell) -> Vec<String> {
        let both = names(kind(cell), cell.family);
        if self.bed.is_some() { both.to_vec() } else { both.into_iter().take(1).collect() }
    }

    /// Exchanges that a cell makes at least.
    pub(super) const fn fewest(&self) -> usize {
        if self.bed.is_some() { 8 } else { 2 }
    }
}

/// What a cell's client asks for.
pub(super) fn kind(cell: Cell) -> Kind {
    let asks_names = matches!(cell.program, Program::Dig | Program::Dnsmasq);
    if asks_names || cell.protocol != Protocol::Tcp { Kind::Dns } else { Kind::Web }
}

/// Where nginx listens for what it passes on.
pub(super) const fn proxy(kind: Kind, family: Family) -> SocketAddr {
    let port = match kind {
        Kind::Web => 7000,
        Kind::Dns => 7010,
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port + family as u16)
}

/// Where dnsmasq listens for what it forwards.
pub(super) const fn forwarder(family: Family) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7020 + family as u16)
}

fn target(meshed: bool, kind: Kind, family: Family) -> SocketAddr {
    let (web, dns) = match (meshed, family) {
        (true, Family::V4 | Family::Mapped) => (VIP.into(), DNS_VIP),
        (true, Family::V6) => (VIP6.into(), DNS_VIP6),
        (false, Family::V4 | Family::Mapped) => both_ports(backend(0).into()),
        (false, Family::V6) => both_ports(backend6(0).into()),
    };
    let address = if kind == Kind::Web { web } else { dns };
    if family == Family::Mapped { mapped(address) } else { address }
}

const fn both_ports(ip: IpAddr) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(ip, WEB_PORT), SocketAddr::new(ip, DNS_PORT))
}

/// The names of the two backends of a family.
fn names(kind: Kind, family: Family) -> [String; 2] {
    let kind = if kind == Kind::Web { "web" } else { "dns" };
    let family = if family == Family::V6 { '6' } else { '4' };
    ['a', 'b'].map(|which| format!("{kind}-{family}{which}"))
}

/// Names and addresses of the four servers of a kind.
fn backends(kind: Kind) -> Vec<(String, SocketAddr)> {
    let port = if kind == Kind::Web { WEB_PORT } else { DNS_PORT };
    let ips: [IpAddr; 4] =
        [backend(0).into(), backend(1).into(), backend6(0).into(), backend6(1).into()];
    let names = names(kind, Family::V4).into_iter().chain(names(kind, Family::V6));
    names.zip(ips).map(|(name, ip)| (name, SocketAddr::new(ip, port))).collect()
}

/// Both services, with VIPs and endpoints of both families.
fn manifest() -> Manifest {
    let mut manifest = Manifest::new()
        .service_at(
            "web",
            &[(*VIP.ip()).into(), (*VIP6.ip()).into()],
            &[("http", VIP.port(), WEB_PORT, "TCP")],
            "",
        )
        .service_at(
            "dns",
            &[DNS_VIP.ip(), DNS_VIP6.ip()],
            &[
                ("dns-udp", DNS_VIP.port(), DNS_PORT, "UDP"),
                ("dns-tcp", DNS_VIP.port(), DNS_PORT, "TCP"),
            ],
            "",
        );
    for (service, kind) in [("web", Kind::Web), ("dns", Kind::Dns)] {
        for (name, address) in backends(kind) {
            manifest = manifest.endpoint(service, &name, "v1", address.ip());
        }
    }
    manifest
}
