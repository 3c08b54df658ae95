//! The line to the control plane: `batch` collects a push until it is complete, `last_good` keeps
//! the last good one on disk, `health` is what belongs to no push, `client` does the talking,
//! `trace` says how long each push took.

pub mod batch;
pub mod client;
pub mod health;
pub mod last_good;
pub mod saver;
mod trace;
