//! Programs and links: the object, loading it, attaching, pinning, replacing and removing.

pub mod attach;
pub mod check;
pub mod enrol;
pub mod load;
pub mod object;
mod sys;
pub mod uninstall;

pub use sys::grace;
