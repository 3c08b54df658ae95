//! Default map sizes; the agent's flags change them before the maps are created.

/// Service ports, `--max-services`. 40 bytes each, and 16 bytes per CPU.
pub const MAX_SERVICES: u32 = 16_384;
/// Frontends per service port, on average: each virtual address takes one.
pub const FRONTENDS_PER_SERVICE: u32 = 2;
/// Backends, `--max-backends`. 32 bytes each, and 64 bytes per CPU.
pub const MAX_BACKENDS: u32 = 65_536;
/// Slots, `--max-slots`. 16 bytes each. A change needs room for the old and the new table of a
/// service at once, hence more slots than backends.
pub const MAX_SLOTS: u32 = 262_144;
/// Size of the event ring, bytes.
pub const EVENT_RING_BYTES: u32 = 1 << 20;
