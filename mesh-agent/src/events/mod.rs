//! Single connections, from the ring buffer to the log: `ring` reads, `record` decodes, `access`
//! chooses and writes.

pub mod access;
pub mod bucket;
pub mod record;
pub mod ring;
