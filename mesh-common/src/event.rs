//! Events: single connections worth telling about. The counters have them all; the ring may
//! lose some, and counts what it loses ([`crate::reason::Reason::EVENT_LOST`]).

use crate::accel::Paths;
use crate::addr::IpKey;
use crate::backend::BackendIndex;
use crate::service::ServiceIndex;

/// Record of the `events` ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The service.
    pub service: ServiceIndex,
    /// The backend; none where none could be chosen.
    pub backend: BackendIndex,
    /// The backend's generation.
    pub generation: u32,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// From SYN to the end, nanoseconds.
    pub duration_ns: u64,
    /// Payload bytes that the backend acknowledged.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Client's own address.
    pub client_addr: IpKey,
    /// What the application connected to.
    pub frontend_addr: IpKey,
    /// Where the connection went.
    pub backend_addr: IpKey,
    /// Client's port, host order.
    pub client_port: u16,
    /// Port of the frontend, host order.
    pub frontend_port: u16,
    /// Port of the backend, host order.
    pub backend_port: u16,
    /// Which ways the data went, of a connection that could be accelerated.
    pub paths: Paths,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: u32,
    /// Id of the client's cgroup; 0 where it is not known.
    pub cgroup: u64,
    /// Why: a [`crate::edge::FailureCause`] of a connection that failed, a
    /// [`crate::reason::Reason`] of one that was refused, 0 of all others.
    pub cause: u32,
    /// IANA number of the protocol.
    pub protocol: u32,
}

/// What happened.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// The number.
    pub code: u32,
}

impl EventKind {
    /// An established connection ended; only with [`crate::tunables::TunableFlags::ACCESS_LOG`] or
    /// [`crate::tunables::TunableFlags::TAP`].
    pub const CLOSED: Self = Self { code: 1 };
    /// A connection did not get established.
    pub const FAILED: Self = Self { code: 2 };
    /// A [`crate::guard::Transition`]: a breaker goes from one phase to another.
    pub const BREAKER: Self = Self { code: 3 };
    /// A [`crate::guard::Transition`]: a backend is ejected, or is back.
    pub const OUTLIER: Self = Self { code: 4 };
    /// A connection is established; only with [`crate::tunables::TunableFlags::TAP`].
    pub const OPENED: Self = Self { code: 5 };
    /// A service has refused a connection, so that nothing was sent; only with
    /// [`crate::tunables::TunableFlags::TAP`]. The client's socket has no address yet.
    pub const REFUSED: Self = Self { code: 6 };
}
