//! Single connections, from the ring buffer to people: `ring` reads, `record` decodes, `access` chooses
//! and writes log lines, `tap` passes them on to whoever looks, `spans` makes spans of them, as `filter`
//! and `choice` say.

pub mod access;
pub mod bucket;
pub mod choice;
pub mod filter;
pub mod record;
pub mod ring;
pub mod spans;
pub mod tap;
