//! The control plane: takes objects in, checks and stores them, and serves them to the agents.
//!
//! Data flows `api` (gRPC) → `writer` (one thread: `validate` → `store`, many requests to one
//! fsync) → `world` (everything stored, in memory) → `snapshot` (what agents get) → `xds` (one
//! state machine per stream). `lease` removes endpoints whose heartbeats stopped. `health` gathers
//! what checks of endpoints have found and serves it beside the snapshot. `proxy` translates all of
//! it for Envoy and gRPC clients. `telemetry` gathers what agents have counted.
//!
//! `world`, `validate`, `lease`, `snapshot`, `health::aggregate`, `proxy` and `telemetry`, but for the
//! `book` of these two, are pure: no I/O, no clock, not async. Wire types are named in `api`, `store::redb::codec`,
//! `snapshot`, `health` and `xds` only. `app` is the only module that starts tasks and threads.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod config;

pub mod health;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod proxy;
pub mod readiness;
pub mod snapshot;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod web;
pub mod world;
pub mod writer;
pub mod xds;
