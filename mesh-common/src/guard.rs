//! What the programs keep about limits, breakers and ejections. They own it; the agent reads it,
//! repairs what was lost, and ejects backends by the same functions as they.

use crate::backend::BackendIndex;
use crate::service::ServiceIndex;

/// Value of `service_guards`. A cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceGuard {
    /// Connections of this node now; see [`crate::logic::load`].
    pub load: u64,
    /// See [`crate::logic::breaker`].
    pub breaker: u64,
    /// Backends that are ejected now.
    pub ejected: u64,
    /// Connections refused because the breaker is open.
    pub refused_open: u64,
    /// Connections refused because of `max_connections`.
    pub refused_connections: u64,
    /// Connections refused because of `max_pending`.
    pub refused_pending: u64,
    /// Connections refused because no backend that was looked at could take one.
    pub refused_backends: u64,
    /// Zero.
    pub pad: u64,
}

/// Value of `backend_guards`. Zeroed when the index is given to another backend. A cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendGuard {
    /// Connections of this node now; see [`crate::logic::load`].
    pub load: u64,
    /// See [`crate::logic::breaker`].
    pub breaker: u64,
    /// See [`crate::logic::outlier`].
    pub outlier: u64,
    /// Times it was asked for a place and had none.
    pub skipped: u64,
    /// Connections that got established.
    pub good: u64,
    /// Connections that failed, by [`crate::logic::stage::failure`].
    pub bad: u64,
    /// Zero.
    pub pad: [u64; 2],
}

/// Record of the `events` ring buffer: a breaker or an ejection changed. Told from an
/// [`crate::event::Event`] by its first field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What happened.
    pub kind: crate::event::EventKind,
    /// The service.
    pub service: ServiceIndex,
    /// The backend; none where it is the whole service's breaker.
    pub backend: BackendIndex,
    /// The backend's generation.
    pub generation: u32,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// The word before.
    pub before: u64,
    /// The word after.
    pub after: u64,
}
