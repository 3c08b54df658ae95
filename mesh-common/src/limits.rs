//! Default map sizes; the agent's flags change them before the maps are created.

/// Service ports, `--max-services`. 232 bytes each, and 16 bytes per CPU.
pub const MAX_SERVICES: u32 = 16_384;
/// Frontends per service port, on average: each virtual address takes one.
pub const FRONTENDS_PER_SERVICE: u32 = 2;
/// Backends, `--max-backends`. 104 bytes each, and 64 bytes per CPU.
pub const MAX_BACKENDS: u32 = 65_536;
/// Slots, `--max-slots`. 16 bytes each. A change needs room for the old and the new table of a
/// service at once, hence more slots than backends.
pub const MAX_SLOTS: u32 = 262_144;
/// Clients remembered for session affinity, `--max-affinity`. About 80 bytes each.
pub const MAX_AFFINITY: u32 = 65_536;
/// Cgroups with an enrolment verdict of their own, `--max-cgroups`. About 70 bytes each.
pub const MAX_CGROUPS: u32 = 16_384;
/// Network namespaces with an enrolment verdict of their own, `--max-namespaces`.
pub const MAX_NAMESPACES: u32 = 4_096;
/// Entries of the `conns` table, a power of two. 72 bytes each. Connections beyond it are kept
/// in socket storage, which has no limit and is slower.
pub const CONNS: u32 = 131_072;
/// Groups of the `conns` table.
pub const CONN_GROUPS: u32 = 32_768;
/// Sockets of accelerated connections at a time, two for each.
pub const MAX_SOCKETS: u32 = 65_536;
/// Clients that wait for their server to be established; that takes microseconds.
pub const PAIRINGS: u32 = 4_096;
/// Clients and services of `auto_clients`.
pub const MAX_AUTO_CLIENTS: u32 = 16_384;
/// Pairs of a client and a backend that are counted apart. About 80 bytes each, and 88 bytes per CPU.
pub const MAX_EDGES: u32 = 16_384;
/// Addresses and ports of this node's endpoints. About 80 bytes each once they are used.
pub const MAX_LOCALS: u32 = 16_384;
/// Addresses of workloads that clients are known by, once they are used. About 80 bytes each.
pub const MAX_PEERS: u32 = 131_072;
/// Pairs of an endpoint of this node and a client that are counted apart. About 80 bytes each, and
/// 88 bytes per CPU.
pub const MAX_INBOUND: u32 = 32_768;
/// Pairs of a client and a service that refuses it, counted apart. About 80 bytes each, and 80 bytes
/// per CPU.
pub const MAX_REFUSALS: u32 = 4_096;
/// Size of the event ring, bytes.
pub const EVENT_RING_BYTES: u32 = 1 << 20;
