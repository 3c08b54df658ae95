//! From what the maps hold to what they should hold, in an order in which a reader between any
//! two operations sees the old or the new state, never a dangling one.
//!
//! ```text
//! install:  frontends gone → backends → slots → heads → frontends new and moved   now live
//! retire:   grace → heads → slots → backends                            nobody reads them now
//! ```
//!
//! New entries take free indices only (see `compile::ids`), so nothing that a reader can reach
//! is written before the head or the frontend that leads to it. Frontends go first, so that their
//! readers do not meet the next state of a service that is no longer theirs. What becomes free is
//! cleared after a grace period, and not given out before it is cleared.

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::service::{ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

use crate::image::MapImage;

/// One write, or a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Write a backend into a free entry and zero its counters.
    PutBackend(BackendIndex, Backend),
    /// Write a slot into a free entry.
    PutSlot(u32, Slot),
    /// Zero the counters of a service index that is about to be used.
    ResetService(ServiceIndex),
    /// Write a head.
    PutService(ServiceIndex, ServiceHead),
    /// Point a frontend to a service.
    PutFrontend(FrontendKey, Frontend),
    /// Remove a frontend.
    DeleteFrontend(FrontendKey),
    /// Wait until no program runs that began before.
    Grace,
    /// Free a service.
    ClearService(ServiceIndex),
    /// Free a slot.
    ClearSlot(u32),
    /// Free a backend.
    ClearBackend(BackendIndex),
}

/// All operations from one image to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ops {
    /// After these the new state is live.
    pub install: Vec<MapOp>,
    /// These free what is no longer used; empty where nothing is.
    pub retire: Vec<MapOp>,
}

/// Computes the operations.
#[must_use]
pub fn diff(actual: &MapImage, desired: &MapImage) -> Ops {
    Ops { install: install(actual, desired), retire: retire(actual, desired) }
}

fn install(actual: &MapImage, desired: &MapImage) -> Vec<MapOp> {
    let mut ops = Vec::new();
    let gone = actual.frontends.iter().filter(|(key, _)| !desired.frontends.contains_key(key));
    let mut service_goes_on = false;
    for (key, service) in gone {
        ops.push(MapOp::DeleteFrontend(*key));
        service_goes_on |= desired.services.contains_key(service)
            && actual.services.get(service) != desired.services.get(service);
    }
    // Whoever looked the frontend up before it went is about to read this head.
    if service_goes_on {
        ops.push(MapOp::Grace);
    }
    for (index, backend) in &desired.backends {
        if actual.backends.get(index) != Some(backend) {
            ops.push(MapOp::PutBackend(*index, *backend));
        }
    }
    for (at, slot) in &desired.slots {
        if actual.slots.get(at) != Some(slot) {
            ops.push(MapOp::PutSlot(*at, *slot));
        }
    }
    for (index, head) in &desired.services {
        if !actual.services.contains_key(index) {
            ops.push(MapOp::ResetService(*index));
        }
        if actual.services.get(index) != Some(head) {
            ops.push(MapOp::PutService(*index, *head));
        }
    }
    let mut moved = Vec::new();
    for (key, service) in &desired.frontends {
        let put = MapOp::PutFrontend(*key, Frontend { service: *service });
        match actual.frontends.get(key) {
            None => ops.push(put),
            Some(before) if before != service => moved.push(put),
            Some(_) => {}
        }
    }
    // An element that an update frees may be reused by the next one while a reader still holds
    // it, and the reader would find another service's index there; so a wait in between.
    for put in moved {
        ops.extend([put, MapOp::Grace]);
    }
    ops
}

fn retire(actual: &MapImage, desired: &MapImage) -> Vec<MapOp> {
    let services = actual.services.keys().filter(|at| !desired.services.contains_key(at));
    let slots = actual.slots.keys().filter(|at| !desired.slots.contains_key(at));
    let backends = actual.backends.keys().filter(|at| !desired.backends.contains_key(at));
    let mut ops = vec![MapOp::Grace];
    ops.extend(services.map(|at| MapOp::ClearService(*at)));
    ops.extend(slots.map(|at| MapOp::ClearSlot(*at)));
    ops.extend(backends.map(|at| MapOp::ClearBackend(*at)));
    let frees_frontend = actual.frontends.keys().any(|key| !desired.frontends.contains_key(key));
    if ops.len() == 1 && !frees_frontend {
        ops.clear();
    }
    ops
}

impl MapOp {
    /// Mirrors the operation in an image.
    pub fn apply_to(&self, image: &mut MapImage) {
        match *self {
            Self::PutBackend(index, backend) => drop(image.backends.insert(index, backend)),
            Self::PutSlot(at, slot) => drop(image.slots.insert(at, slot)),
            Self::PutService(index, head) => drop(image.services.insert(index, head)),
            Self::PutFrontend(key, frontend) => {
                image.frontends.insert(key, frontend.service);
            }
            Self::DeleteFrontend(key) => drop(image.frontends.remove(&key)),
            Self::ResetService(_) | Self::Grace => {}
            Self::ClearService(index) => drop(image.services.remove(&index)),
            Self::ClearSlot(at) => drop(image.slots.remove(&at)),
            Self::ClearBackend(index) => drop(image.backends.remove(&index)),
        }
    }
}
