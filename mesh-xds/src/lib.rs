//! ADS as state machines: bytes, sockets, clocks and tasks stay in the shells.
//!
//! - [`server::DeltaStream`]: one client's delta stream as the control plane sees it.
//! - [`server::SotwStream`]: the same for clients that speak the state-of-the-world variant.
//! - [`client::DeltaClient`]: the node agent's end, which survives its streams.
//! - [`snapshot::Snapshot`]: what a server serves; immutable, cheap to clone and to compare.
//! - [`translate`]: services and their configurations as resources for Envoy and gRPC clients.
//! - [`capabilities`]: what each kind of client makes of them.
//! - [`backoff::Backoff`]: how long to wait before the next connection attempt.
//! - [`ads`]: the wire messages and the generated gRPC service. Only this crate names the crate
//!   they come from.
//! - [`csds`], [`lrs`]: the same of the Client Status Discovery and Load Reporting Services.
//!
//! Rules of the protocol are quoted where they are implemented, as xDS protocol, "section";
//! that is the document "xDS REST and gRPC protocol" of the Envoy project.
#![forbid(unsafe_code)]

pub mod ads;
pub mod backoff;
pub mod capabilities;
pub mod client;
pub mod csds;
pub mod lrs;
pub mod server;
pub mod snapshot;
pub mod translate;
pub mod types;

mod detail;
#[cfg(test)]
mod wired;

/// The name that subscribes to every resource of a type
/// (xDS protocol, "How the client specifies what resources to return").
pub const WILDCARD: &str = "*";
