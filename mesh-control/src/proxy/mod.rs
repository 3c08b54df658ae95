//! What standard xDS clients get: a snapshot for Envoy, one for gRPC clients, and one for those of them
//! that are built on C-core; and what differs by where a client is.
//!
//! ```text
//! writer: world, what changed ─┐
//! health of endpoints ─────────┼─► ProxyBook ─► Builder ─► snapshots for Envoy and for gRPC
//! time: listeners that leave ──┤
//! clients: where they are ─────┘
//! ```
//!
//! [`Builder`] is pure and encodes again only what a change touches. [`ProxyBook`] is the shell: it
//! collects changes and has one task translate them, so that writing does not wait for it.

mod book;
mod builder;
mod facts;
mod near;
#[cfg(test)]
mod tests;

pub use book::ProxyBook;
pub use builder::{Builder, Change, LINGER, Snapshots};
pub use near::{Audience, Dialect};
