//! Single connections, from the ring buffer to the log: `ring` reads, `record` decodes.

pub mod record;
pub mod ring;
