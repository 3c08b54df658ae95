//! The programs' words about limits, breakers and ejections, in memory that is shared with them.

use std::path::Path;
use std::sync::Arc;

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::counter::BackendCounters;
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::names;
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;
use mesh_common::state::BackendState;

use super::{KernelMaps, mapped, open_error, pinned, read_error, total};
use crate::bpf::load::map_path;
use crate::bpf::mapped::{Access, Mapped};
use crate::bpf::pinned::Pinned;
use crate::maps::MapError;
use crate::maps::guards::{GuardStore, Word};

/// The pinned maps, open. Clones share their memory.
#[derive(Clone, Debug)]
pub struct KernelGuards {
    services: Mapped<ServiceGuard>,
    backends: Mapped<BackendGuard>,
    states: Mapped<BackendState>,
    holders: Mapped<Backend>,
    policies: Mapped<Policy>,
    counters: Arc<Pinned<u32, BackendCounters>>,
}

impl KernelGuards {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self {
            services: mapped(pin_path, names::SERVICE_GUARDS)?,
            backends: mapped(pin_path, names::BACKEND_GUARDS)?,
            states: mapped(pin_path, names::BACKEND_STATE)?,
            holders: readable(pin_path, names::BACKENDS)?,
            policies: readable(pin_path, names::POLICIES)?,
            counters: Arc::new(pinned(pin_path, names::BACKEND_COUNTERS)?),
        })
    }
}

impl KernelMaps {
    /// What they hold about guards, in the same memory.
    #[must_use]
    pub fn words(&self) -> KernelGuards {
        KernelGuards {
            services: self.guards.services.clone(),
            backends: self.guards.backends.clone(),
            states: self.backend_state.clone(),
            holders: self.backends.clone(),
            policies: self.policies.clone(),
            counters: Arc::clone(&self.backend_counters),
        }
    }
}

fn readable<T: aya::Pod>(pin_path: &Path, map: &'static str) -> Result<Mapped<T>, MapError> {
    let path = map_path(pin_path, map);
    Mapped::open(&path, Access::Read).map_err(open_error(&path))
}

/// Place of a field among the words of its entry.
macro_rules! place {
    ($type:ident, $field:ident) => {
        std::mem::offset_of!($type, $field) / size_of::<u64>()
    };
}

impl GuardStore for KernelGuards {
    fn read(&self, word: Word) -> u64 {
        match word {
            Word::ServiceLoad(at) => self.services.read(at.index, place!(ServiceGuard, load)),
            Word::ServiceBreaker(at) => self.services.read(at.index, place!(ServiceGuard, breaker)),
            Word::Ejected(at) => self.services.read(at.index, place!(ServiceGuard, ejected)),
            Word::BackendLoad(at) => self.backends.read(at.index, place!(BackendGuard, load)),
            Word::BackendBreaker(at) => self.backends.read(at.index, place!(BackendGuard, breaker)),
            Word::Outlier(at) => self.backends.read(at.index, place!(BackendGuard, outlier)),
            Word::Active(at) => self.states.read(at.index, place!(BackendState, active)),
        }
    }

    fn exchange(&self, word: Word, from: u64, to: u64) -> bool {
        let service =
            |at: ServiceIndex, place| self.services.compare_exchange(at.index, place, from, to);
        let backend =
            |at: BackendIndex, place| self.backends.compare_exchange(at.index, place, from, to);
        match word {
            Word::ServiceLoad(at) => service(at, place!(ServiceGuard, load)),
            Word::ServiceBreaker(at) => service(at, place!(ServiceGuard, breaker)),
            Word::Ejected(at) => service(at, place!(ServiceGuard, ejected)),
            Word::BackendLoad(at) => backend(at, place!(BackendGuard, load)),
            Word::BackendBreaker(at) => backend(at, place!(BackendGuard, breaker)),
            Word::Outlier(at) => backend(at, place!(BackendGuard, outlier)),
            Word::Active(at) => {
                self.states.compare_exchange(at.index, place!(BackendState, active), from, to)
            }
        }
    }

    fn service(&self, index: ServiceIndex) -> ServiceGuard {
        self.services.get(index.index).unwrap_or_default()
    }

    fn backend(&self, index: BackendIndex) -> BackendGuard {
        self.backends.get(index.index).unwrap_or_default()
    }

    fn policy(&self, index: ServiceIndex) -> Policy {
        self.policies.get(index.index).unwrap_or_default()
    }

    fn generation(&self, index: BackendIndex) -> u32 {
        self.holders.get(index.index).unwrap_or_default().generation
    }

    fn counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        let values = self.counters.entry(index.index);
        values.map(|values| total(&values)).map_err(read_error(names::BACKEND_COUNTERS))
    }
}
