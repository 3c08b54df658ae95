//! Traffic of the mesh: agents report what the kernel has counted, here it is put together, kept for
//! a while, and handed out. In memory only: after a restart the agents, which have the totals, say
//! it again.
//!
//! `collector` makes growth out of totals and gives it to handlers ([`Collect`]): `series` keeps it
//! over time, `services` counts it in metrics. `query` puts answers together. All of these are pure;
//! `book` has the locks and is told the time.

pub mod book;
pub mod collector;
pub mod config;
pub mod counts;
pub mod edge;
pub mod metrics;
pub mod query;
pub mod series;
pub mod services;
#[cfg(test)]
mod tests;

use collector::{Change, NodeId};

/// Something that wants to know what is counted, as it becomes known.
pub trait Collect: Send + Sync {
    /// Takes what has grown on edges of a node. Called once for each growth, maybe by several
    /// threads at a time.
    fn collect(&self, node: NodeId, changes: &[Change]);
}
