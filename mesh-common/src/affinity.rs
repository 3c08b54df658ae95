//! Session affinity: which backend a client was sent to last.

use crate::backend::BackendIndex;
use crate::service::ServiceIndex;

/// Key of the `affinity` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    /// The client: cookie of its network namespace, or id of its cgroup.
    pub client: u64,
    /// The service.
    pub service: ServiceIndex,
    /// Zero.
    pub pad: u32,
}

/// Value of the `affinity` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Affinity {
    /// The backend.
    pub backend: BackendIndex,
    /// The backend's generation.
    pub generation: u32,
    /// `CLOCK_MONOTONIC` nanoseconds of the last connection.
    pub used_ns: u64,
}
