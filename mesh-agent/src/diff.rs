//! The writes that lead from what the maps hold to what they should hold, and their order: a reader
//! between any two of them sees the old or the new state, never a dangling one.
//!
//! ```text
//! install:  frontends gone → backends that take more, and new ones → slots → policies
//!           → acceleration on → heads → acceleration off → backends that take less
//!           → frontends new and moved                                          now live
//! retire:   grace → heads → acceleration off → policies → slots → backends
//!                                                                 nobody reads them now
//! ```
//!
//! New entries take free indices only (see `reconcile::room`), so nothing that a reader can reach
//! is written before the head or the frontend that leads to it. The exception are slots of a
//! Maglev table, which change in place: every one of them leads to an old or a new backend.
//! Frontends go first, so that their readers do not meet the next state of a service that is no
//! longer theirs. A backend stops taking connections when no table leads to it any more, and before
//! another frontend leads to its service: clients that had it by affinity choose anew then. What becomes free is cleared after a
//! grace period, and not given out before it is cleared.
//!
//! A policy is there before the head that sends readers to it, and as long as any head did. What
//! the programs keep beside it, in `service_guards` and `backend_guards`, is theirs, and is
//! forgotten by these rules:
//!
//! - All of an entry is zeroed when a free index is given out ([`MapOp::PutService`] into a free
//!   entry, [`MapOp::PutBackend`]): the grace period that freed it has passed.
//! - Breakers and ejections are forgotten when they are switched off, after a grace period, and
//!   once more when they are switched on, before the policy says so: an agent may have died in
//!   between. Also where the index, or a backend's address, gets another holder without having
//!   been free.
//! - `load` is not touched while an index is used: each connection gives back what it took, as its
//!   record says, also after the limits are switched off. Switched on again, they go on from
//!   there.

use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::policy::Policy;
use mesh_common::service::{ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

use crate::image::MapImage;

/// One write, or a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Write a backend into a free entry.
    PutBackend(BackendIndex, Backend),
    /// Write the flags of a backend in use; nothing else of the entry changes.
    SetBackendFlags(BackendIndex, BackendFlags),
    /// Write a slot into a free entry, or another backend into one of a Maglev table.
    PutSlot(u32, Slot),
    /// Write a policy; zero frees the entry.
    PutPolicy(ServiceIndex, Policy),
    /// Write a head. In a free entry, the programs keep nothing of an earlier holder.
    PutService(ServiceIndex, ServiceHead),
    /// Turn the switch of acceleration: off, whoever is accelerated goes on by TCP.
    Accelerate(bool),
    /// Close a service's breaker.
    ForgetService(ServiceIndex),
    /// Close a backend's breaker, end its ejection, or both.
    ForgetBackend(BackendIndex, Forget),
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

/// What the programs forget about a backend. Its load they never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// The breaker closes.
    pub breaker: bool,
    /// Failures and ejections are over.
    pub outlier: bool,
}

impl Forget {
    /// Both.
    pub const ALL: Self = Self { breaker: true, outlier: true };

    /// Whether there is anything to forget.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.breaker || self.outlier
    }
}

/// What an update has to write, in no order yet.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Frontends to remove.
    pub gone: Vec<FrontendKey>,
    /// A service whose frontend goes has another head, or other slots, from now on.
    pub gone_goes_on: bool,
    /// Backends that take more than before.
    pub more: Vec<(BackendIndex, BackendFlags)>,
    /// New backends.
    pub backends: Vec<(BackendIndex, Backend)>,
    /// New slots, and those that change in place.
    pub slots: Vec<(u32, Slot)>,
    /// What the programs forget before the policies come.
    pub forget: Vec<MapOp>,
    /// New and changed policies.
    pub policies: Vec<(ServiceIndex, Policy)>,
    /// The switch of acceleration becomes this.
    pub acceleration: Option<bool>,
    /// New and changed heads.
    pub heads: Vec<(ServiceIndex, ServiceHead)>,
    /// New frontends.
    pub new: Vec<(FrontendKey, ServiceIndex)>,
    /// Frontends that led to another service.
    pub moved: Vec<(FrontendKey, ServiceIndex)>,
    /// Backends that take less than before.
    pub less: Vec<(BackendIndex, BackendFlags)>,
}

impl Writes {
    /// The operations, in order.
    #[must_use]
    pub fn into_ops(self) -> Vec<MapOp> {
        let mut ops = Vec::with_capacity(self.slots.len() + 2 * self.backends.len() + 8);
        ops.extend(self.gone.into_iter().map(MapOp::DeleteFrontend));
        // Whoever looked the frontend up before it went is about to read this head.
        if self.gone_goes_on {
            ops.push(MapOp::Grace);
        }
        let flags = |(index, flags)| MapOp::SetBackendFlags(index, flags);
        ops.extend(self.more.into_iter().map(flags));
        ops.extend(self.backends.into_iter().map(|(index, to)| MapOp::PutBackend(index, to)));
        ops.extend(self.slots.into_iter().map(|(at, slot)| MapOp::PutSlot(at, slot)));
        ops.extend(self.forget);
        ops.extend(self.policies.into_iter().map(|(index, to)| MapOp::PutPolicy(index, to)));
        let switch =
            |wanted| (self.acceleration == Some(wanted)).then_some(MapOp::Accelerate(wanted));
        ops.extend(switch(true));
        ops.extend(self.heads.into_iter().map(|(index, head)| MapOp::PutService(index, head)));
        ops.extend(switch(false));
        ops.extend(self.less.into_iter().map(flags));
        let put = |(key, service)| MapOp::PutFrontend(key, Frontend { service });
        ops.extend(self.new.into_iter().map(put));
        // An element that an update frees may be reused by the next one while a reader still
        // holds it, and the reader would find another service's index there; so a wait in between.
        for moved in self.moved {
            ops.extend([put(moved), MapOp::Grace]);
        }
        ops
    }
}

impl MapOp {
    /// Mirrors the operation in an image.
    pub fn apply_to(&self, image: &mut MapImage) {
        match *self {
            Self::PutBackend(index, backend) => image.backends.insert(index, backend),
            Self::SetBackendFlags(index, flags) => {
                if let Some(backend) = image.backends.get(&index).copied() {
                    image.backends.insert(index, Backend { flags, ..backend });
                }
            }
            Self::PutSlot(at, slot) => image.slots.insert(at, slot),
            Self::PutService(index, head) => image.services.insert(index, head),
            Self::Accelerate(on) => image.accelerating = on,
            Self::PutFrontend(key, frontend) => {
                image.frontends.insert(key, frontend.service);
            }
            Self::DeleteFrontend(key) => drop(image.frontends.remove(&key)),
            Self::PutPolicy(index, policy) => image.policies.insert(index, policy),
            Self::Grace | Self::ForgetService(_) | Self::ForgetBackend(..) => {}
            Self::ClearService(index) => {
                image.services.remove(&index);
                image.policies.remove(&index);
            }
            Self::ClearSlot(at) => image.slots.remove(&at),
            Self::ClearBackend(index) => image.backends.remove(&index),
        }
    }
}
