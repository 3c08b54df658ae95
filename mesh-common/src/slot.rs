//! Slots: the alias table that turns one random number into a backend.

use crate::backend::BackendIndex;
use crate::service::ServiceIndex;

/// Value of the `slots` map. Zeroed when free.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Slot {
    /// The service this slot belongs to. A reader that got here by a torn head sees another
    /// service, or none, and does not use the slot.
    pub service: ServiceIndex,
    /// Taken when the random fraction is below `threshold`.
    pub backend: BackendIndex,
    /// Taken otherwise.
    pub alias: BackendIndex,
    /// In units of 2^-32.
    pub threshold: u32,
}
