//! The canary: connections of the agent's own that prove that the programs run. A link may be
//! pinned and a program in the kernel's list, and yet no `connect()` be redirected: only trying
//! it tells.
//!
//! ```text
//! agent     listen   binds loopback, answers with a token
//!           image    services of its own in the maps: VIP → these listeners
//!           trial    starts `mesh-agent canary`, and reads what it found and what was counted
//! child     child    joins a cgroup below the attached one, connects through every hook
//!           verdict  findings and counters → which programs fire (pure)
//! ```

pub mod child;
mod image;
mod listen;
#[cfg(test)]
mod tests;
mod trial;
pub mod verdict;

use serde::{Deserialize, Serialize};

pub use image::{image, ports_in, room, strip, without_room};
pub use listen::{Listeners, PortPair, Ports};
pub use trial::{Trial, TrialError};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// What the child tries, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Probe {
    /// A TCP connection reaches the agent.
    TcpConnect,
    /// Its peer is the service.
    TcpPeer,
    /// A service without a backend refuses with its error.
    Refusal,
    /// A connected UDP socket reaches the agent.
    UdpConnect,
    /// A datagram of an unconnected socket reaches the agent.
    UdpSend,
    /// Its answer comes from the service.
    UdpReceive,
}

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Over which family.
    pub family: Family,
    /// What was tried.
    pub probe: Probe,
    /// What went wrong; `None` where it went as it should.
    pub problem: Option<String>,
}
