//! Edges: from whom to whom connections go, as the client's end counts them. The server's does the same
//! in [`crate::inbound`].

use crate::backend::BackendIndex;

/// Key of `edges`.
///
/// A generation is given out once, so that a key never means another edge later.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EdgeKey {
    /// Id of the client's cgroup; 0 where it is not known.
    pub cgroup: u64,
    /// The backend.
    pub backend: BackendIndex,
    /// Its generation.
    pub generation: u32,
}

/// Value of `edges` and `inbound`, for each CPU. What is not counted here, for want of room, is in
/// `backend_counters` as everything is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EdgeCounters {
    /// Connections established.
    pub opened: u64,
    /// Established connections that ended.
    pub closed: u64,
    /// Connections that did not get established, by [`FailureCause`].
    pub failed: [u64; FailureCause::COUNT],
    /// Payload bytes that the client sent, of ended connections.
    pub bytes_sent: u64,
    /// Payload bytes that the client received, of ended connections.
    pub bytes_received: u64,
    /// Segments retransmitted by this end, of ended connections.
    pub retransmits: u64,
    /// Sum of the smoothed round-trip times at the end of connections, microseconds.
    pub rtt_us: u64,
    /// Sum of the lives of ended connections, from SYN to the end, microseconds.
    pub duration_us: u64,
}

impl EdgeCounters {
    /// All that was counted is 0.
    pub const ZERO: Self = Self {
        opened: 0,
        closed: 0,
        failed: [0; FailureCause::COUNT],
        bytes_sent: 0,
        bytes_received: 0,
        retransmits: 0,
        rtt_us: 0,
        duration_us: 0,
    };
}

/// Why a connection did not get established.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureCause {
    /// The number.
    pub code: u32,
}

impl FailureCause {
    /// The application closed the socket, or something else that the kernel does not tell.
    pub const GIVEN_UP: Self = Self { code: 0 };
    /// The peer answered with a reset.
    pub const REFUSED: Self = Self { code: 1 };
    /// Nobody answered in time.
    pub const TIMED_OUT: Self = Self { code: 2 };
    /// No route, or a router said so.
    pub const UNREACHABLE: Self = Self { code: 3 };
    /// How many there are.
    pub const COUNT: usize = 4;

    /// From the socket's `sk_err`, which is the errno that `connect()` returns (`man 2 connect`).
    #[must_use]
    #[inline(always)]
    pub const fn from_errno(errno: u32) -> Self {
        /// `ECONNREFUSED`, `ECONNRESET`.
        const REFUSED: [u32; 2] = [111, 104];
        const ETIMEDOUT: u32 = 110;
        /// `ENETDOWN` to `ENETUNREACH`; `EHOSTDOWN`, `EHOSTUNREACH`.
        const NET: [u32; 2] = [100, 101];
        const HOST: [u32; 2] = [112, 113];
        if errno == REFUSED[0] || errno == REFUSED[1] {
            Self::REFUSED
        } else if errno == ETIMEDOUT {
            Self::TIMED_OUT
        } else if errno == NET[0] || errno == NET[1] || errno == HOST[0] || errno == HOST[1] {
            Self::UNREACHABLE
        } else {
            Self::GIVEN_UP
        }
    }

    /// As metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::REFUSED => "refused",
            Self::TIMED_OUT => "timed_out",
            Self::UNREACHABLE => "unreachable",
            Self { .. } => "given_up",
        }
    }
}
