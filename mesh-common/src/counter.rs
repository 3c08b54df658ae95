//! Per-CPU counters: never lost, read by the agent whenever it likes.

/// Value of `backend_counters`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Times the backend was chosen at `connect()`.
    pub attempts: u64,
    /// Connections established.
    pub opened: u64,
    /// Connections that did not get established.
    pub failed: u64,
    /// Established connections that ended.
    pub closed: u64,
    /// Payload bytes that the backend acknowledged, of ended connections.
    pub bytes_sent: u64,
    /// Payload bytes received from the backend, of ended connections.
    pub bytes_received: u64,
    /// Segments retransmitted, of ended connections.
    pub retransmits: u64,
    /// Sum of the smoothed round-trip times at the end of connections, microseconds.
    pub rtt_us: u64,
}

impl BackendCounters {
    /// Adds another CPU's counters.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.wrapping_add(other.attempts),
            opened: self.opened.wrapping_add(other.opened),
            failed: self.failed.wrapping_add(other.failed),
            closed: self.closed.wrapping_add(other.closed),
            bytes_sent: self.bytes_sent.wrapping_add(other.bytes_sent),
            bytes_received: self.bytes_received.wrapping_add(other.bytes_received),
            retransmits: self.retransmits.wrapping_add(other.retransmits),
            rtt_us: self.rtt_us.wrapping_add(other.rtt_us),
        }
    }
}

impl BackendCounters {
    /// What has been counted since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            attempts: self.attempts.wrapping_sub(earlier.attempts),
            opened: self.opened.wrapping_sub(earlier.opened),
            failed: self.failed.wrapping_sub(earlier.failed),
            closed: self.closed.wrapping_sub(earlier.closed),
            bytes_sent: self.bytes_sent.wrapping_sub(earlier.bytes_sent),
            bytes_received: self.bytes_received.wrapping_sub(earlier.bytes_received),
            retransmits: self.retransmits.wrapping_sub(earlier.retransmits),
            rtt_us: self.rtt_us.wrapping_sub(earlier.rtt_us),
        }
    }
}

/// Value of `service_counters`: connections that no backend could take.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceCounters {
    /// Refused with the service's errno.
    pub refused: u64,
    /// Let through to the virtual address.
    pub passed: u64,
}

impl ServiceCounters {
    /// Adds another CPU's counters.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            refused: self.refused.wrapping_add(other.refused),
            passed: self.passed.wrapping_add(other.passed),
        }
    }
}

/// Value of `reasons`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReasonCount {
    /// How often a program ended for this reason.
    pub count: u64,
}
