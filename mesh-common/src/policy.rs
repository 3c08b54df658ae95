//! Limits, breakers, outlier detection and timeouts of a service, as the agent writes them.
//!
//! Every number stands for itself: a program that reads some before and some after a change acts
//! within one of the two.

/// Value of the `policies` map, by service index. Read only where the service's head has
/// [`crate::service::ServiceFlags::GUARDED`] or [`crate::service::ServiceFlags::TIMED`]. Two cache
/// lines, the first of which is all that a guarded `connect()` reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// For all connections of this node to the service.
    pub service: Thresholds,
    /// For those to each backend.
    pub backend: Thresholds,
    /// When a backend is ejected.
    pub outlier: OutlierPolicy,
    /// What sockets are told.
    pub timeouts: TimeoutPolicy,
    /// Zero.
    pub pad: [u32; 12],
}

/// Limits and a circuit breaker.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// Connections at a time, also those that are not established yet; 0: any number.
    pub max_connections: u32,
    /// Connections at a time that are not established yet; 0: any number.
    pub max_pending: u32,
    /// Failed connections within the window that open the breaker, up to
    /// [`crate::logic::breaker::MAX_COUNT`]; 0: there is no breaker.
    pub max_failures: u32,
    /// Connections that a half-open breaker lets through, 1 to
    /// [`crate::logic::breaker::MAX_COUNT`].
    pub trials: u32,
    /// Milliseconds since the first failure within which the others must come.
    pub window_ms: u32,
    /// Milliseconds for which an open breaker lets nothing through.
    pub reset_ms: u32,
}

/// When a backend is ejected, and for how long.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutlierPolicy {
    /// Failed connections in a row, up to [`crate::logic::outlier::MAX_CONSECUTIVE`]; 0: that is
    /// no reason.
    pub consecutive_failures: u32,
    /// Milliseconds of the first ejection; the n-th takes n times that. 0: ejections are ignored.
    pub base_ms: u32,
    /// The longest ejection, milliseconds.
    pub max_ms: u32,
    /// Backends of the service that may be ejected at a time.
    pub max_ejected: u32,
}

/// What the kernel is told about a service's connections; 0 leaves the kernel's way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TimeoutPolicy {
    /// Milliseconds until a connection must be established.
    pub connect_ms: u32,
    /// Jiffies until the SYN is sent again for the first time.
    pub syn_rto_jiffies: u32,
    /// How often the SYN is sent again.
    pub syn_retries: u32,
    /// Milliseconds without a sign of life from the peer's kernel after which a connection ends.
    pub idle_ms: u32,
}
