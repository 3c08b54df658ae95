//! Programs and links: the object, loading it, attaching, pinning, replacing and removing.

pub mod accel;
pub mod attach;
pub mod auto;
pub mod check;
pub mod direct;
pub mod effective;
pub mod enrol;
pub mod layout;
pub mod load;
pub mod log;
pub(crate) mod mapped;
pub mod object;
pub(crate) mod pinned;
mod sys;
pub mod tcp;
pub mod tombstone;
pub mod uninstall;

pub use sys::grace;
pub(crate) use sys::open_pin;
