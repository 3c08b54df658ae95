//! The node agent: receives policy from the control plane and keeps the kernel's maps so.
//!
//! Data flows `xds` (delta ADS) → `world` (objects) → `compile` (pure) → `image` → `diff`
//! (ordered operations) → `reconcile` → `maps` (kernel). Counters and events flow back through
//! `events` and `telemetry`. `bpf` loads, attaches and removes the programs, `canary` proves
//! that they run, `keeper` sees to it that they stay; `worker` is the thread that owns the maps;
//! `app` wires it all. Beside it, `enrol` decides which processes are in the mesh, `workload`
//! tells who they are, `health` checks the endpoints of this node, `accel` tries what this kernel
//! can do of same-node acceleration, and `proxy` looks after the node's Envoy.

#![deny(unsafe_code)]

pub mod accel;
pub mod app;
pub mod attend;
pub mod bpf;
pub mod canary;
pub mod cgroup;
pub mod commands;
pub mod compile;
pub mod config;
pub mod diff;
pub mod edges;
pub mod enrol;
pub mod events;
pub mod figure;
pub mod guard;
pub mod health;
pub mod http;
pub mod image;
pub mod inbound;
pub mod keeper;
pub mod ledger;
pub mod maps;
pub mod memory;
pub mod netns;
pub mod programmed;
pub mod proxy;
pub mod reconcile;
pub mod refused;
pub mod report;
pub mod sockets;
pub mod start;
mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod upkeep;
pub mod worker;
pub mod workload;
pub mod world;
pub mod xds;
