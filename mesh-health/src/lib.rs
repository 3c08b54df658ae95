//! Active health checks: when an endpoint is checked, how, and what follows from the results.
//! The agent checks the endpoints of its node with it, the control plane those that have no agent.
//!
//! - [`threshold`]: from results to healthy and unhealthy. Pure.
//! - [`schedule`]: when each check is due, and which are given up under load. Pure.
//! - [`probe`]: one check, by TCP, HTTP or gRPC.
//! - [`checker`]: all checks, in one future.
//! - [`place`]: the port that is checked. Pure.
//! - [`metrics`]: what they count.
#![forbid(unsafe_code)]

pub mod checker;
pub mod metrics;
pub mod place;
pub mod probe;
pub mod schedule;
pub mod threshold;
