//! Backends: where connections go. One per (service port, endpoint).

use crate::addr::IpKey;
use crate::service::ServiceIndex;

/// Index into `backends` and `backend_counters`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BackendIndex {
    /// The number.
    pub index: u32,
}

impl BackendIndex {
    /// No backend: index 0 is never given out, so zeroed memory refers to nothing.
    pub const NONE: Self = Self { index: 0 };
}

/// Value of the `backends` map. Zeroed when free; otherwise never rewritten, only freed and
/// later given out again with another generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Backend {
    /// Address of the endpoint.
    pub addr: IpKey,
    /// Port, host order; 0 only where the entry is free.
    pub port: u16,
    /// Reserved, zero.
    pub flags: u16,
    /// The service port it serves.
    pub service: ServiceIndex,
    /// Tells connections of an earlier holder of this index from the present one's.
    pub generation: u32,
}
