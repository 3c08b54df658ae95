//! What the programs keep about services and backends with policies, as far as the reconciler
//! changes it; `diff` has the rules.

use std::mem::offset_of;
use std::path::Path;

use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::logic::outlier;
use mesh_common::names;

use super::{mapped, stored};
use crate::bpf::mapped::{Mapped, Order};
use crate::diff::Forget;
use crate::maps::MapError;

/// The words of an entry that change on their own.
const fn word(offset: usize) -> usize {
    offset / size_of::<u64>()
}
const SERVICE_BREAKER: usize = word(offset_of!(ServiceGuard, breaker));
const SERVICE_EJECTED: usize = word(offset_of!(ServiceGuard, ejected));
const BREAKER: usize = word(offset_of!(BackendGuard, breaker));
const OUTLIER: usize = word(offset_of!(BackendGuard, outlier));

/// Both maps.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) services: Mapped<ServiceGuard>,
    pub(super) backends: Mapped<BackendGuard>,
}

impl Guards {
    pub(super) fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self {
            services: mapped(pin_path, names::SERVICE_GUARDS)?,
            backends: mapped(pin_path, names::BACKEND_GUARDS)?,
        })
    }

    /// For a new holder of a free index.
    pub(super) fn zero_service(&self, index: u32) -> Result<(), MapError> {
        let zeroed = self.services.set(index, &ServiceGuard::default(), Order::Up);
        stored(names::SERVICE_GUARDS, zeroed)
    }

    /// For a new holder of a free index.
    pub(super) fn zero_backend(&self, index: u32) -> Result<(), MapError> {
        let zeroed = self.backends.set(index, &BackendGuard::default(), Order::Up);
        stored(names::BACKEND_GUARDS, zeroed)
    }

    /// Closes a service's breaker.
    pub(super) fn forget_service(&self, index: u32) {
        self.services.take(index, SERVICE_BREAKER);
    }

    /// Closes a backend's breaker, or ends its ejection, or both. Who takes the word away takes the
    /// ejection off its service's number, as the programs do.
    pub(super) fn forget_backend(&self, index: u32, service: u32, what: Forget) {
        if what.breaker {
            self.backends.take(index, BREAKER);
        }
        if what.outlier && outlier::is_ejected(self.backends.take(index, OUTLIER)) {
            self.services.decrement(service, SERVICE_EJECTED);
        }
    }
}
