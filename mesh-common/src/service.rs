//! Services as the kernel sees them: one per service port, by index.

use crate::flags::flags;

/// Index into `services`. One index per (service, port).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceIndex {
    /// The number.
    pub index: u32,
}

impl ServiceIndex {
    /// No service: index 0 is never given out, so zeroed memory refers to nothing.
    pub const NONE: Self = Self { index: 0 };
}

/// Value of the `services` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceHead {
    /// First index into `slots`.
    pub slot_base: u32,
    /// Number of slots; 0 means that no backend can take a connection.
    pub slot_count: u32,
    /// Raised with every change of the head; for people who compare dumps.
    pub generation: u32,
    /// How a slot is chosen; see [`Algorithm`].
    pub algorithm: Algorithm,
    /// Bits of [`ServiceFlags`].
    pub flags: ServiceFlags,
    /// Errno that `connect()` returns where [`ServiceFlags::PASS_THROUGH`] is not set and no
    /// backend can take the connection; positive.
    pub refuse_errno: u32,
    /// How long a client that did not connect keeps its backend, milliseconds; 0: no affinity.
    pub affinity_ms: u32,
}

impl ServiceHead {
    /// Errno of a refused connection, also where the head could not be read.
    #[must_use]
    #[inline(always)]
    pub const fn refusal(&self) -> u32 {
        if self.refuse_errno == 0 { DEFAULT_REFUSE_ERRNO } else { self.refuse_errno }
    }
}

/// `EHOSTUNREACH`: what a client sees when a service has no backend.
pub const DEFAULT_REFUSE_ERRNO: u32 = 113;

/// How a slot is chosen.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Algorithm {
    /// The number.
    pub code: u32,
}

impl Algorithm {
    /// Weighted random over an alias table.
    pub const ALIAS: Self = Self { code: 0 };
    /// One after the other over a table in which each backend stands as often as its weight says.
    pub const ROUND_ROBIN: Self = Self { code: 1 };
    /// Two random draws from an alias table; the backend with fewer connections of this node
    /// takes it.
    pub const LEAST_CONNECTIONS: Self = Self { code: 2 };
    /// The client's hash over a Maglev table.
    pub const MAGLEV: Self = Self { code: 3 };
}

/// Flags of a service.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceFlags {
    /// The number.
    pub bits: u32,
}

flags!(ServiceFlags);

impl ServiceFlags {
    /// Without a backend, let the connection go to the virtual address itself.
    pub const PASS_THROUGH: Self = Self { bits: 1 };
    /// There are endpoints, but none of the frontend's address family.
    pub const OTHER_FAMILY: Self = Self { bits: 2 };
    /// A client is a cgroup; otherwise a network namespace.
    pub const KEY_WORKLOAD: Self = Self { bits: 4 };
    /// For [`Algorithm::MAGLEV`]: each socket is a client of its own.
    pub const KEY_CONNECTION: Self = Self { bits: 8 };
    /// The agent's own service, which proves that the programs run: enrolment is not asked.
    pub const CANARY: Self = Self { bits: 16 };

    /// The service has limits, a breaker or outlier detection: TCP only.
    pub const GUARDED: Self = Self { bits: 32 };
    /// The service has timeouts: TCP only.
    pub const TIMED: Self = Self { bits: 64 };

    /// Connections to backends on this node are accelerated: TCP only.
    pub const ACCELERATED: Self = Self { bits: 128 };
    /// Beside [`Self::ACCELERATED`]: only those of clients that are in the map `auto_clients`.
    pub const AUTO: Self = Self { bits: 256 };
}
