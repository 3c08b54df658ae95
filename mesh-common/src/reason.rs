//! Why a program ended as it did: every exit has a reason, counted per CPU, and this table says
//! which of them let the connection through.

/// Index into `reasons`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// The number.
    pub code: u32,
}

impl Reason {
    /// connect: the destination is no service; the usual case on a node.
    pub const NOT_A_SERVICE: Self = Self { code: 1 };
    /// connect: neither TCP nor UDP.
    pub const OTHER_PROTOCOL: Self = Self { code: 2 };
    /// connect: no backend, the service refuses.
    pub const NO_BACKEND_REFUSED: Self = Self { code: 3 };
    /// connect: no backend, the service passes connections through.
    pub const NO_BACKEND_PASSED: Self = Self { code: 4 };
    /// connect: the slot belonged to another service on every try; the agent was rewriting it.
    pub const TORN: Self = Self { code: 5 };
    /// connect: the service or the backend that the maps name does not exist.
    pub const DANGLING: Self = Self { code: 6 };
    /// connect: the per-socket record could not be stored, so `getpeername` and the counters of
    /// this connection do not work.
    pub const NO_RECORD: Self = Self { code: 7 };
    /// sockops: a connection ended whose backend index has since been given to another backend.
    pub const STALE_BACKEND: Self = Self { code: 8 };
    /// An event was lost because the ring buffer was full; the counters have it.
    pub const EVENT_LOST: Self = Self { code: 9 };

    /// connect, sendmsg: no backend of the frontend's address family, the service refuses.
    pub const OTHER_FAMILY: Self = Self { code: 10 };
    /// connect, sendmsg: the client's cgroup or network namespace is not enrolled.
    pub const NOT_ENROLLED: Self = Self { code: 11 };
    /// sendmsg: an unconnected socket talks to more services than it can remember; the one used
    /// longest ago was forgotten, and late replies from it show the backend's address.
    pub const FLOW_REPLACED: Self = Self { code: 12 };
    /// connect, sendmsg: no room in `affinity`; the client may get another backend next time.
    pub const AFFINITY_FULL: Self = Self { code: 13 };
    /// connect: the table of connections had no room where this one belongs; socket storage
    /// holds its record.
    pub const CONNS_OVERFLOW: Self = Self { code: 14 };
    /// sendmsg: another thread was changing the socket's flows all the time; the datagram was sent,
    /// its flow was not remembered.
    pub const FLOW_BUSY: Self = Self { code: 15 };
    /// connect: the service's breaker is open.
    pub const BREAKER_OPEN: Self = Self { code: 16 };
    /// connect: the service has as many connections as it may.
    pub const MAX_CONNECTIONS: Self = Self { code: 17 };
    /// connect: as many connections of the service are being made as may be.
    pub const MAX_PENDING: Self = Self { code: 18 };
    /// connect: every backend that was looked at has an open breaker, is ejected or full.
    pub const BACKENDS_BUSY: Self = Self { code: 19 };
    /// connect: the socket is the agent's own and goes where it asks to.
    pub const DIRECT: Self = Self { code: 20 };
    /// connect, sockops: other CPUs changed a breaker or a limit on every try; refused, or an
    /// outcome was not noted.
    pub const CONTENDED: Self = Self { code: 21 };
    /// sockops, `sk_msg`: a socket of a connection that was to be accelerated is another agent's,
    /// sends without copying, or has an upper layer protocol such as kernel TLS.
    pub const SOCKET_TAKEN: Self = Self { code: 22 };
    /// sockops: no room or no memory for a connection that was to be accelerated.
    pub const SOCKETS_FULL: Self = Self { code: 23 };
    /// sockops: no room in `edges`; the connection is counted, but not by who has made it.
    pub const EDGES_FULL: Self = Self { code: 24 };
    /// Any program: no room for a line of the programs' log.
    pub const LOG_LOST: Self = Self { code: 25 };
    /// sockops: no room in `inbound`; the connection is counted, but not by who has made it.
    pub const INBOUND_FULL: Self = Self { code: 26 };
    /// sockops: no memory to follow a connection at the server's end; it is not counted there.
    pub const INBOUND_LOST: Self = Self { code: 27 };
    /// connect, sendmsg: no room in `refusals`; it is counted, but not by who has asked and why.
    pub const REFUSALS_FULL: Self = Self { code: 28 };

    /// Entries of `reasons`. Entry 0 stays 0: a redirect is not counted here, because the
    /// attempts of all backends add up to it.
    pub const COUNT: u32 = 32;

    /// All reasons with the names that metrics and dumps use.
    pub const NAMES: [(Self, &'static str); 28] = [
        (Self::NOT_A_SERVICE, "not_a_service"),
        (Self::OTHER_PROTOCOL, "other_protocol"),
        (Self::NO_BACKEND_REFUSED, "no_backend_refused"),
        (Self::NO_BACKEND_PASSED, "no_backend_passed"),
        (Self::TORN, "torn"),
        (Self::DANGLING, "dangling"),
        (Self::NO_RECORD, "no_record"),
        (Self::STALE_BACKEND, "stale_backend"),
        (Self::EVENT_LOST, "event_lost"),
        (Self::OTHER_FAMILY, "other_family"),
        (Self::NOT_ENROLLED, "not_enrolled"),
        (Self::FLOW_REPLACED, "flow_replaced"),
        (Self::AFFINITY_FULL, "affinity_full"),
        (Self::CONNS_OVERFLOW, "conns_overflow"),
        (Self::FLOW_BUSY, "flow_busy"),
        (Self::BREAKER_OPEN, "breaker_open"),
        (Self::MAX_CONNECTIONS, "max_connections"),
        (Self::MAX_PENDING, "max_pending"),
        (Self::BACKENDS_BUSY, "backends_busy"),
        (Self::DIRECT, "direct"),
        (Self::CONTENDED, "contended"),
        (Self::SOCKET_TAKEN, "socket_taken"),
        (Self::SOCKETS_FULL, "sockets_full"),
        (Self::EDGES_FULL, "edges_full"),
        (Self::LOG_LOST, "log_lost"),
        (Self::INBOUND_FULL, "inbound_full"),
        (Self::INBOUND_LOST, "inbound_lost"),
        (Self::REFUSALS_FULL, "refusals_full"),
    ];

    /// Whether `connect()` goes on. What the mesh does not understand it lets through
    /// unchanged; what belongs to a service but cannot be served is refused, because a
    /// connection to the bare virtual address would bypass the policy in silence.
    #[must_use]
    #[inline(always)]
    pub const fn lets_through(self) -> bool {
        match self {
            Self::NO_BACKEND_REFUSED
            | Self::OTHER_FAMILY
            | Self::TORN
            | Self::DANGLING
            | Self::BREAKER_OPEN
            | Self::MAX_CONNECTIONS
            | Self::MAX_PENDING
            | Self::BACKENDS_BUSY
            | Self::CONTENDED => false,
            Self::NOT_A_SERVICE
            | Self::OTHER_PROTOCOL
            | Self::NOT_ENROLLED
            | Self::NO_BACKEND_PASSED
            | Self::NO_RECORD
            | Self { .. } => true,
        }
    }
}
