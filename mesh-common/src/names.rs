//! Names of maps and programs, and where they are pinned: the only place that spells them.
//!
//! The kernel keeps 15 bytes of a map's name; longer ones are cut in `bpftool map list` only.

/// Default directory for pins; needs a mounted bpffs.
pub const PIN_PATH: &str = "/sys/fs/bpf/mesh";
/// Directory below the pin path that holds the maps.
pub const MAPS_DIR: &str = "maps";
/// Directory for maps of another layout while they are filled.
pub const MAPS_NEXT: &str = "maps-next";
/// Directory of the maps that such ones have replaced, until no program uses them.
pub const MAPS_OLD: &str = "maps-old";
/// Directory of maps that are being removed.
pub const MAPS_GONE: &str = "maps-gone";
/// Directory below the pin path that holds the links.
pub const LINKS_DIR: &str = "links";

/// Hash: [`crate::frontend::FrontendKey`] → [`crate::frontend::Frontend`].
pub const FRONTENDS: &str = "frontends";
/// Array: service index → [`crate::service::ServiceHead`].
pub const SERVICES: &str = "services";
/// Array: service index → [`crate::policy::Policy`].
pub const POLICIES: &str = "policies";
/// Array: service index → [`crate::guard::ServiceGuard`].
pub const SERVICE_GUARDS: &str = "service_guards";
/// Array: backend index → [`crate::guard::BackendGuard`].
pub const BACKEND_GUARDS: &str = "backend_guards";
/// Array: slot index → [`crate::slot::Slot`].
pub const SLOTS: &str = "slots";
/// Array: backend index → [`crate::backend::Backend`].
pub const BACKENDS: &str = "backends";
/// Per-CPU array: backend index → [`crate::counter::BackendCounters`].
pub const BACKEND_COUNTERS: &str = "backend_counters";
/// Per-CPU array: service index → [`crate::counter::ServiceCounters`].
pub const SERVICE_COUNTERS: &str = "service_counters";
/// Per-CPU hash: [`crate::edge::EdgeKey`] → [`crate::edge::EdgeCounters`].
pub const EDGES: &str = "edges";
/// Hash: address and port of an endpoint of this node, as [`crate::frontend::FrontendKey`] →
/// [`crate::inbound::EndpointId`].
pub const LOCALS: &str = "locals";
/// Hash: [`crate::addr::IpKey`] of a workload → [`crate::inbound::ClientId`].
pub const PEERS: &str = "peers";
/// Per-CPU hash: [`crate::inbound::InboundKey`] → [`crate::edge::EdgeCounters`].
pub const INBOUND: &str = "inbound";
/// Socket storage: [`crate::inbound::Accepted`].
pub const ACCEPTED: &str = "accepted";
/// Per-CPU hash: [`crate::refusal::RefusalKey`] → [`crate::refusal::RefusalCounters`].
pub const REFUSALS: &str = "refusals";
/// Per-CPU array: [`crate::reason::Reason`] → [`crate::counter::ReasonCount`].
pub const REASONS: &str = "reasons";
/// Array: service index → [`crate::state::ServiceState`].
pub const SERVICE_STATE: &str = "service_state";
/// Array: backend index → [`crate::state::BackendState`].
pub const BACKEND_STATE: &str = "backend_state";
/// Array used as a table: [`crate::conn::ConnRecord`]; see [`crate::logic::table`].
pub const CONNS: &str = "conns";
/// Array: [`crate::conn::ConnGroup`], the sockets that the records of `conns` belong to.
pub const CONNS_INDEX: &str = "conns_index";
/// Socket storage: [`crate::conn::ConnRecord`]s for which the table had no room.
pub const CONNS_OVERFLOW: &str = "conns_overflow";
/// Array of one: [`crate::conn::ConnsState`].
pub const CONNS_STATE: &str = "conns_state";
/// Socket storage: [`crate::flow::Flows`].
pub const FLOWS: &str = "flows";
/// Socket storage: a socket with a value goes where it asks to, also where that is a frontend.
pub const DIRECT: &str = "direct";
/// Hash: [`crate::affinity::AffinityKey`] → [`crate::affinity::Affinity`].
pub const AFFINITY: &str = "affinity";
/// Hash: [`crate::enrol::CgroupKey`] → [`crate::enrol::Verdict`].
pub const CGROUPS: &str = "cgroups";
/// Hash: [`crate::enrol::NetnsKey`] → [`crate::enrol::Verdict`].
pub const NAMESPACES: &str = "namespaces";
/// LRU hash: [`crate::accel::PairKey`] → [`crate::accel::Pairing`].
pub const PAIRINGS: &str = "pairings";
/// Sockhash: [`crate::accel::SocketKey`] → an end of an accelerated connection.
pub const SOCKETS: &str = "sockets";
/// Socket storage: [`crate::accel::Accelerated`].
pub const ACCELERATED: &str = "accelerated";
/// Array: place in `conns` → [`crate::accel::Pair`].
pub const PAIRS: &str = "pairs";
/// Hash: [`crate::accel::AutoKey`] → 1.
pub const AUTO_CLIENTS: &str = "auto_clients";
/// Ring buffer: [`crate::event::Event`].
pub const EVENTS: &str = "events";
/// Array of one: [`crate::tunables::Tunables`].
pub const TUNABLES: &str = "tunables";

/// Every map, in the order in which a `connect()` meets them.
pub const MAPS: [&str; 34] = [
    FRONTENDS,
    DIRECT,
    CGROUPS,
    NAMESPACES,
    SERVICES,
    POLICIES,
    SERVICE_GUARDS,
    AFFINITY,
    SERVICE_STATE,
    SLOTS,
    BACKENDS,
    BACKEND_STATE,
    BACKEND_GUARDS,
    BACKEND_COUNTERS,
    EDGES,
    SERVICE_COUNTERS,
    REFUSALS,
    REASONS,
    CONNS_INDEX,
    CONNS,
    CONNS_STATE,
    CONNS_OVERFLOW,
    FLOWS,
    AUTO_CLIENTS,
    PAIRINGS,
    PAIRS,
    SOCKETS,
    ACCELERATED,
    LOCALS,
    PEERS,
    INBOUND,
    ACCEPTED,
    EVENTS,
    TUNABLES,
];

/// `cgroup/connect4`: chooses the backend.
pub const CONNECT4: &str = "mesh_connect4";
/// `cgroup/connect6`: the same for IPv6 sockets, also where they reach IPv4.
pub const CONNECT6: &str = "mesh_connect6";
/// `cgroup/sendmsg4`: chooses the backend of a datagram.
pub const SENDMSG4: &str = "mesh_sendmsg4";
/// `cgroup/sendmsg6`: the same for IPv6 sockets.
pub const SENDMSG6: &str = "mesh_sendmsg6";
/// `cgroup/recvmsg4`: shows the service address as the sender of a reply.
pub const RECVMSG4: &str = "mesh_recvmsg4";
/// `cgroup/recvmsg6`: the same for IPv6 sockets.
pub const RECVMSG6: &str = "mesh_recvmsg6";
/// `cgroup/getpeername4`: shows the service address to the application.
pub const GETPEERNAME4: &str = "mesh_getpeername4";
/// `cgroup/getpeername6`: the same for IPv6 sockets.
pub const GETPEERNAME6: &str = "mesh_getpeername6";
/// `sockops`: follows the connection's life.
pub const SOCKOPS: &str = "mesh_sockops";
/// `cgroup/sock_release`: ends what no TCP state change ends.
pub const SOCK_RELEASE: &str = "mesh_sock_release";

/// `sk_msg`: sends a message from socket to socket. Attached to the map `sockets`.
pub const MESSAGE: &str = "mesh_message";
/// Read-only data of the programs: [`crate::accel::SocketLayout`].
pub const SOCKET_LAYOUT: &str = "SOCKET_LAYOUT";
/// Read-only data of the programs: byte offset of `sk_err` in this kernel's `struct tcp_sock`; 0:
/// unknown.
pub const SOCKET_ERROR_AT: &str = "SOCKET_ERROR_AT";

/// Read-only data of the programs: the least severe level that they log, 0 (nothing) to 5 (trace). Set
/// by `aya-log-ebpf`.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";

/// Every program of a cgroup, in the order of attachment: what observes comes before what redirects,
/// so that no redirected connection goes uncounted.
pub const PROGRAMS: [&str; 10] = [
    SOCK_RELEASE,
    SOCKOPS,
    GETPEERNAME4,
    GETPEERNAME6,
    RECVMSG4,
    RECVMSG6,
    SENDMSG4,
    SENDMSG6,
    CONNECT4,
    CONNECT6,
];
