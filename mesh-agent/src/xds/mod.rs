//! The line to the control plane: `batch` collects a push until it is complete, `cache` keeps
//! the last good one on disk, `client` does the talking.

pub mod batch;
pub mod cache;
pub mod client;
