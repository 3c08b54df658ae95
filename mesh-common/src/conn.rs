//! The per-socket record: what a connection was asked for and where it went.

use crate::addr::IpKey;
use crate::backend::BackendIndex;
use crate::service::ServiceIndex;

/// Value of the `conns` socket storage; written at `connect()`, gone with the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnRecord {
    /// What the application connected to.
    pub frontend_addr: IpKey,
    /// Where the connection went. A record whose backend is not the socket's peer is left over
    /// from an earlier `connect()` on the same socket and means nothing.
    pub backend_addr: IpKey,
    /// Port of the frontend, host order.
    pub frontend_port: u16,
    /// Port of the backend, host order.
    pub backend_port: u16,
    /// The service.
    pub service: ServiceIndex,
    /// The backend.
    pub backend: BackendIndex,
    /// The backend's generation at `connect()`.
    pub generation: u32,
    /// How far the connection got.
    pub stage: Stage,
    /// Low half of the kernel's receive counter on entering `FIN_WAIT2`; see
    /// [`crate::logic::payload`].
    pub received_mark: u32,
    /// `CLOCK_MONOTONIC` nanoseconds when the SYN was sent.
    pub started_ns: u64,
}

impl ConnRecord {
    /// Whether the record is about the connection to this peer, and not left over from another.
    #[must_use]
    #[inline(always)]
    pub const fn describes(&self, peer: &IpKey, port: u16) -> bool {
        self.backend_port == port && self.backend_addr.is(peer)
    }
}

/// How far a connection got.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stage {
    /// The number.
    pub code: u32,
}

impl Stage {
    /// A backend has been chosen.
    pub const CHOSEN: Self = Self { code: 0 };
    /// The SYN has been sent.
    pub const CONNECTING: Self = Self { code: 1 };
    /// Established.
    pub const OPEN: Self = Self { code: 2 };
    /// Closed or failed; counted, nothing more to do.
    pub const DONE: Self = Self { code: 3 };
}
