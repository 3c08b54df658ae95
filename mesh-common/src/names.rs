//! Names of maps and programs, and where they are pinned: the only place that spells them.
//!
//! The kernel keeps 15 bytes of a map's name; longer ones are cut in `bpftool map list` only.

/// Default directory for pins; needs a mounted bpffs.
pub const PIN_PATH: &str = "/sys/fs/bpf/mesh";
/// Directory below the pin path that holds the maps.
pub const MAPS_DIR: &str = "maps";
/// Directory below the pin path that holds the links.
pub const LINKS_DIR: &str = "links";

/// Hash: [`crate::frontend::FrontendKey`] → [`crate::frontend::Frontend`].
pub const FRONTENDS: &str = "frontends";
/// Array: service index → [`crate::service::ServiceHead`].
pub const SERVICES: &str = "services";
/// Array: slot index → [`crate::slot::Slot`].
pub const SLOTS: &str = "slots";
/// Array: backend index → [`crate::backend::Backend`].
pub const BACKENDS: &str = "backends";
/// Per-CPU array: backend index → [`crate::counter::BackendCounters`].
pub const BACKEND_COUNTERS: &str = "backend_counters";
/// Per-CPU array: service index → [`crate::counter::ServiceCounters`].
pub const SERVICE_COUNTERS: &str = "service_counters";
/// Per-CPU array: [`crate::reason::Reason`] → [`crate::counter::ReasonCount`].
pub const REASONS: &str = "reasons";
/// Socket storage: [`crate::conn::ConnRecord`].
pub const CONNS: &str = "conns";
/// Ring buffer: [`crate::event::Event`].
pub const EVENTS: &str = "events";
/// Array of one: [`crate::tunables::Tunables`].
pub const TUNABLES: &str = "tunables";

/// Every map, in the order in which a `connect()` meets them.
pub const MAPS: [&str; 10] = [
    FRONTENDS,
    SERVICES,
    SLOTS,
    BACKENDS,
    BACKEND_COUNTERS,
    SERVICE_COUNTERS,
    REASONS,
    CONNS,
    EVENTS,
    TUNABLES,
];

/// `cgroup/connect4`: chooses the backend.
pub const CONNECT4: &str = "mesh_connect4";
/// `cgroup/getpeername4`: shows the service address to the application.
pub const GETPEERNAME4: &str = "mesh_getpeername4";
/// `sockops`: follows the connection's life.
pub const SOCKOPS: &str = "mesh_sockops";

/// Every program, in the order of attachment: what observes comes before what redirects, so
/// that no redirected connection goes uncounted.
pub const PROGRAMS: [&str; 3] = [SOCKOPS, GETPEERNAME4, CONNECT4];
