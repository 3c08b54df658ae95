//! Backends: where connections go. One per (service port, endpoint).

use crate::addr::IpKey;
use crate::flags::flags;
use crate::service::ServiceIndex;

/// Index into `backends` and `backend_counters`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BackendIndex {
    /// The number.
    pub index: u32,
}

impl BackendIndex {
    /// No backend: index 0 is never given out, so zeroed memory refers to nothing.
    pub const NONE: Self = Self { index: 0 };
}

/// Value of the `backends` map. Zeroed when free; otherwise only its flags change, until it is
/// freed and later given out again with another generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Backend {
    /// Address of the endpoint.
    pub addr: IpKey,
    /// Port, host order; 0 only where the entry is free.
    pub port: u16,
    /// Bits of [`BackendFlags`]; the only part that changes while the entry is in use.
    pub flags: BackendFlags,
    /// The service port it serves.
    pub service: ServiceIndex,
    /// Tells connections of an earlier holder of this index from the present one's.
    pub generation: u32,
}

/// Flags of a backend.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendFlags {
    /// The number.
    pub bits: u16,
}

flags!(BackendFlags);

impl BackendFlags {
    /// No new connections: session affinity chooses again. Open connections and the flows of
    /// unconnected datagram sockets go on.
    pub const DRAINING: Self = Self { bits: 1 };
    /// The endpoint is gone: flows of unconnected datagram sockets choose again as well.
    pub const REMOVED: Self = Self { bits: 2 };

    /// The endpoint is on this node.
    pub const LOCAL: Self = Self { bits: 4 };

    /// It is no endpoint but the node's Envoy, which serves on after the service has left it:
    /// nobody ends its connections. For user space; the programs do not look at it.
    pub const PROXY: Self = Self { bits: 8 };

    /// Whether it takes new connections.
    #[must_use]
    #[inline(always)]
    pub const fn takes_new(self) -> bool {
        self.bits & (Self::DRAINING.bits | Self::REMOVED.bits) == 0
    }

    /// Whether what it has goes on.
    #[must_use]
    #[inline(always)]
    pub const fn keeps_old(self) -> bool {
        self.bits & Self::REMOVED.bits == 0
    }
}
