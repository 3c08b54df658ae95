//! Connections that arrive at a node's own endpoints: who is counted for them, whoever makes them.
//!
//! ```text
//! a server's end is established ─► locals[its address] = endpoint ─┐
//!                                  peers[the other's]  = client  ──┴► inbound[{endpoint, client}]
//! it ends                       ─► accepted[socket]   ─────────────► the same entry
//! ```

/// An endpoint of this node as it was at some time. Given out once, so that an entry never counts for
/// another later, whatever becomes of its address.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EndpointId {
    /// The number.
    pub number: u64,
}

impl EndpointId {
    /// None.
    pub const NONE: Self = Self { number: 0 };
}

/// A workload that makes connections. Given out once.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientId {
    /// The number.
    pub number: u64,
}

impl ClientId {
    /// Nobody knows whose address it is, or there was no room for an entry of its own.
    pub const UNKNOWN: Self = Self { number: 0 };
}

/// Key of `inbound`. Each connection is counted in one entry. That of the unknown client is there
/// before the endpoint is in `locals`, so that there is always one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct InboundKey {
    /// Whose connections they are.
    pub endpoint: EndpointId,
    /// Who makes them.
    pub client: ClientId,
}

/// Value of the `accepted` socket storage: the server's end of a connection that is counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Where it is counted; without an endpoint, it has been.
    pub key: InboundKey,
    /// `CLOCK_MONOTONIC` nanoseconds when it was established.
    pub started_ns: u64,
    /// Bytes that this end has sent past TCP, as far as is known.
    pub sent: u64,
    /// Bytes that it has received past TCP, as far as is known.
    pub received: u64,
    /// The low half of the kernel's receive counter on entering `FIN_WAIT2`.
    pub received_mark: u32,
    /// Zero.
    pub pad: u32,
}
