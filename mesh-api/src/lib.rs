//! The contract between people, control plane and agents: wire types, the validated model,
//! and the manifests that people write.
//!
//! Data flows `manifest` (YAML) → `wire` (protobuf, also the serde form) → `convert` → `model`.
//! Code that decides anything takes `model`; `wire` stops at the adapters.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod clients;
pub mod convert;
pub mod manifest;
pub mod model;
pub mod resource;
pub mod violation;
pub mod wire;
mod wire_serde;

/// Most objects in one request that changes objects: a request is one transaction, and holds up
/// all others meanwhile. Refused before they are sent, too.
pub const MAX_BATCH: usize = 10_000;

/// Largest message that the control plane accepts and that its clients must accept, bytes.
/// Requests beyond it are refused before they are sent.
pub const MAX_MESSAGE: usize = 32 << 20;
/// Most workloads in the report of one node; an agent leaves out what is beyond it.
pub const MAX_WORKLOADS: usize = 10_000;
