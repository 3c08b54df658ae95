//! The protocol matrix: programs that nobody here wrote, over TCP and UDP, with and without
//! `connect()`, in every address family, against servers that nobody here wrote either. Run
//! without a mesh it checks itself: the same cells must hold on the backends' own addresses.

mod clients;
mod dns;
mod world;

use std::collections::BTreeSet;

use anyhow::ensure;

pub use self::world::World;
use crate::ui;

/// What a client does with its socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Tcp,
    /// `connect()`, then `send` and `recv`.
    UdpConnected,
    /// `sendto` and `recvfrom`.
    UdpUnconnected,
}

/// The addresses of client, service and backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    V4,
    V6,
    /// IPv4 through an IPv6 socket, as `::ffff:a.b.c.d`.
    Mapped,
}

/// A client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Curl,
    Nginx,
    PythonAsyncio,
    Dig,
    Socat,
    Dnsmasq,
}

/// One client over one protocol in one family.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub protocol: Protocol,
    pub family: Family,
    pub program: Program,
}

/// How a cell went.
#[derive(Debug)]
pub enum Verdict {
    /// So many exchanges, all answered by the right backends.
    Ok(usize),
    /// This cell cannot exist, and why.
    NotApplicable(&'static str),
    /// What went wrong.
    Failed(String),
}

impl Protocol {
    /// All, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::UdpConnected, Self::UdpUnconnected];

    /// As in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::UdpConnected => "udp-connected",
            Self::UdpUnconnected => "udp-unconnected",
        }
    }
}

impl Family {
    /// All, in the order of the table.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];

    /// As in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Mapped => "mapped",
        }
    }
}

impl Program {
    /// All, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Curl, Self::Nginx, Self::PythonAsyncio, Self::Dig, Self::Socat, Self::Dnsmasq];

    /// As in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Nginx => "nginx",
            Self::PythonAsyncio => "python-asyncio",
            Self::Dig => "dig",
            Self::Socat => "socat",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    /// Why a cell cannot exist. Found by tracing the system calls of the programs.
    #[must_use]
    pub fn lacks(self, protocol: Protocol, family: Family) -> Option<&'static str> {
        let udp = protocol != Protocol::Tcp;
        let mapped = family == Family::Mapped;
        match self {
            Self::Curl if udp => Some("curl of this system speaks no protocol over UDP"),
            Self::Nginx if protocol == Protocol::UdpUnconnected => {
                Some("nginx connects every socket to an upstream")
            }
            Self::Dig if mapped => Some("dig skips mapped addresses"),
            Self::Dig if protocol == Protocol::UdpUnconnected => Some("dig connects its sockets"),
            Self::Dnsmasq if mapped => Some("dnsmasq sets IPV6_V6ONLY on sockets to upstreams"),
            Self::Dnsmasq if protocol == Protocol::UdpConnected => {
                Some("dnsmasq never connects its UDP sockets")
            }
            Self::Curl
            | Self::Nginx
            | Self::PythonAsyncio
            | Self::Dig
            | Self::Socat
            | Self::Dnsmasq => None,
        }
    }
}

/// Every cell there could be.
pub fn cells() -> impl Iterator<Item = Cell> {
    Protocol::ALL.into_iter().flat_map(|protocol| {
        Family::ALL.into_iter().flat_map(move |family| {
            Program::ALL.into_iter().map(move |program| Cell { protocol, family, program })
        })
    })
}

/// Exchanges after which a backend that was never reached is a fault: with two of equal weight
/// an honest one is missed once in 2^47.
const MOST: usize = 48;

impl Cell {
    /// Exchanges until every backend of the family has answered.
    pub fn run(self, world: &World) -> Verdict {
        if let Some(reason) = self.program.lacks(self.protocol, self.family) {
            return Verdict::NotApplicable(reason);
        }
        match self.exchanges(world) {
            Ok(count) => Verdict::Ok(count),
            Err(error) => Verdict::Failed(format!("{error:#}")),
        }
    }

    fn exchanges(self, world: &World) -> anyhow::Result<usize> {
        let expected: BTreeSet<String> = world.names(self).into_iter().collect();
        let mut reached = BTreeSet::new();
        let mut count = 0;
        while count < world.fewest() || reached != expected {
            ensure!(count < MOST, "{count} exchanges reached {reached:?} of {expected:?} only");
            for name in clients::exchange(world, self, count)? {
                ensure!(expected.contains(&name), "answered by {name:?}, not by {expected:?}");
                reached.insert(name);
                count += 1;
            }
        }
        Ok(count)
    }

    /// The line of the table.
    pub fn say(self, verdict: &Verdict) {
        let (word, more) = match verdict {
            Verdict::Ok(count) => ("ok", format!("{count} exchanges")),
            Verdict::NotApplicable(reason) => ("not applicable:", (*reason).to_owned()),
            Verdict::Failed(reason) => ("FAILED:", reason.clone()),
        };
        let Self { protocol, family, program } = self;
        ui::say(format!(
            "{:<15} {:<6} {:<14} {word} {more}",
            protocol.as_str(),
            family.as_str(),
            program.as_str()
        ));
    }
}
