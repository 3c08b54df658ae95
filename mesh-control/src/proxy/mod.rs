//! What standard xDS clients get: one snapshot for every node's Envoy, one for every gRPC client.
//!
//! ```text
//! writer: world, what changed ─┐
//! health of endpoints ─────────┼─► ProxyBook ─► Builder ─► snapshots for Envoy and for gRPC
//! time: listeners that leave ──┘
//! ```
//!
//! [`Builder`] is pure and encodes again only what a change touches. [`ProxyBook`] is the shell: it
//! collects changes and has one task translate them, so that writing does not wait for it.

mod book;
mod builder;
mod facts;
#[cfg(test)]
mod tests;

pub use book::ProxyBook;
pub use builder::{Builder, Change, LINGER, Snapshots};
