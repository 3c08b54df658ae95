//! The one door to the policy maps, and its three lives: kernel, memory, faulty.

pub mod faulty;
pub mod guards;
pub mod inbound;
pub mod kernel;
pub mod memory;

use std::io;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use self::inbound::InboundMaps;
use crate::compile::Limits;
use crate::diff::MapOp;
use crate::image::MapImage;

/// What the library that talks to the kernel says.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong at the maps.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A map could not be opened.
    #[error("cannot open the pinned map {path}: {source}; does an agent run with this pin path?")]
    Open {
        /// Where it should be pinned.
        path: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A map could not be read.
    #[error("cannot read the map {map}: {source}")]
    Read {
        /// Its name.
        map: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A map could not be written.
    #[error("cannot write the map {map}: {source}")]
    Write {
        /// Its name.
        map: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A map is full.
    #[error("the map {map} is full: start the agent with a higher {flag}")]
    Full {
        /// Its name.
        map: &'static str,
        /// The flag that makes it larger.
        flag: &'static str,
    },
    /// The kernel does not offer a way to wait for running programs.
    #[error("membarrier(GLOBAL) failed: {0}; a kernel booted with nohz_full does not offer it")]
    Grace(#[source] io::Error),
    /// Planned by a test.
    #[error("operation {0} was told to fail")]
    Planned(usize),
}

/// Which update the maps hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The control plane's revision.
    pub revision: u64,
    /// Number of the update, ascending on this node.
    pub commit: u64,
}

/// Where the image lives.
pub trait MapStore {
    /// Does one operation.
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError>;

    /// Does operations in this order. After an error, what the maps hold has to be read.
    fn apply_all(&mut self, ops: &[MapOp]) -> Result<(), MapError> {
        ops.iter().try_for_each(|op| self.apply(op))
    }

    /// Reads everything.
    fn read(&self) -> Result<MapImage, MapError>;

    /// Sizes of the maps.
    fn limits(&self) -> Limits;

    /// Records what the maps hold.
    fn set_held(&mut self, held: Held) -> Result<(), MapError>;

    /// What the maps hold; all 0 before the first update.
    fn held(&self) -> Result<Held, MapError>;

    /// A backend's counters, summed over the CPUs, since the maps were made: they only grow, also
    /// when the index gets another holder; [`crate::ledger`] knows whose they are.
    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError>;

    /// A service's counters, summed over the CPUs.
    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError>;

    /// What is counted by client, summed over the CPUs. To be read before the backends' counters:
    /// whoever is counted here is counted there first.
    fn edges(&self) -> Result<Vec<(EdgeKey, EdgeCounters)>, MapError>;

    /// Deletes edges; those that are not there are no error.
    fn delete_edges(&mut self, keys: &[EdgeKey]) -> Result<(), MapError>;

    /// What services refuse by client, summed over the CPUs. To be read before the services' counters.
    fn refusals(&self) -> Result<Vec<(RefusalKey, RefusalCounters)>, MapError>;

    /// Deletes entries of `refusals`; those that are not there are no error.
    fn delete_refusals(&mut self, keys: &[RefusalKey]) -> Result<(), MapError>;

    /// The maps of connections to this node's endpoints; none in tests that have nothing to do with
    /// them.
    fn inbound(&mut self) -> Option<&mut dyn InboundMaps> {
        None
    }

    /// The backends' counters from index 0 to `end`, as far as there are any.
    fn all_backend_counters(&self, end: u32) -> Result<Vec<BackendCounters>, MapError> {
        (0..end).map(|index| self.backend_counters(BackendIndex { index })).collect()
    }

    /// The services' counters from index 0 to `end`, as far as there are any.
    fn all_service_counters(&self, end: u32) -> Result<Vec<ServiceCounters>, MapError> {
        (0..end).map(|index| self.service_counters(ServiceIndex { index })).collect()
    }
}
