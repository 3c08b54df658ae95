//! Maps in memory, with a reader that walks them as the kernel program does: for golden scripts
//! and for the property that no order of events shows a dangling state.

pub mod guards;
pub mod inbound;
mod reader;

use std::collections::BTreeMap;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use self::inbound::MemoryInbound;
pub use self::reader::{Client, Outcome, Reader};
use super::inbound::InboundMaps;
use super::{Held, MapError, MapStore};
use crate::compile::Limits;
use crate::diff::MapOp;
use crate::image::MapImage;

/// Maps in memory.
#[derive(Clone, Debug)]
pub struct MemoryMaps {
    image: MapImage,
    counters: BTreeMap<BackendIndex, BackendCounters>,
    edges: BTreeMap<EdgeKey, EdgeCounters>,
    service_counters: BTreeMap<ServiceIndex, ServiceCounters>,
    refusals: BTreeMap<RefusalKey, RefusalCounters>,
    inbound: MemoryInbound,
    limits: Limits,
    held: Held,
}

impl MemoryMaps {
    /// Empty maps.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            image: MapImage::default(),
            counters: BTreeMap::new(),
            edges: BTreeMap::new(),
            service_counters: BTreeMap::new(),
            refusals: BTreeMap::new(),
            inbound: MemoryInbound::default(),
            limits,
            held: Held::default(),
        }
    }

    /// Sets what the programs have counted.
    pub fn count(&mut self, index: BackendIndex, counters: BackendCounters) {
        self.counters.insert(index, counters);
    }

    /// Sets what the programs have counted by client.
    pub fn count_edge(&mut self, key: EdgeKey, counters: EdgeCounters) {
        self.edges.insert(key, counters);
    }

    /// Sets what the programs have counted of a service.
    pub fn count_service(&mut self, index: ServiceIndex, counters: ServiceCounters) {
        self.service_counters.insert(index, counters);
    }

    /// Sets what the programs have counted by client that was refused.
    pub fn count_refusal(&mut self, key: RefusalKey, counters: RefusalCounters) {
        self.refusals.insert(key, counters);
    }

    /// The maps of connections to this node's endpoints.
    pub const fn inbound_mut(&mut self) -> &mut MemoryInbound {
        &mut self.inbound
    }

    /// Replaces what they hold.
    pub fn set_image(&mut self, image: MapImage) {
        self.image = image;
    }

    /// What they hold.
    #[must_use]
    pub const fn image(&self) -> &MapImage {
        &self.image
    }
}

impl MapStore for MemoryMaps {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        op.apply_to(&mut self.image);
        Ok(())
    }

    fn read(&self) -> Result<MapImage, MapError> {
        Ok(self.image.clone())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.held = held;
        Ok(())
    }

    fn held(&self) -> Result<Held, MapError> {
        Ok(self.held)
    }

    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        Ok(self.counters.get(&index).copied().unwrap_or_default())
    }

    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        Ok(self.service_counters.get(&index).copied().unwrap_or_default())
    }

    fn edges(&self) -> Result<Vec<(EdgeKey, EdgeCounters)>, MapError> {
        Ok(self.edges.iter().map(|(key, counters)| (*key, *counters)).collect())
    }

    fn delete_edges(&mut self, keys: &[EdgeKey]) -> Result<(), MapError> {
        for key in keys {
            self.edges.remove(key);
        }
        Ok(())
    }

    fn refusals(&self) -> Result<Vec<(RefusalKey, RefusalCounters)>, MapError> {
        Ok(self.refusals.iter().map(|(key, counters)| (*key, *counters)).collect())
    }

    fn delete_refusals(&mut self, keys: &[RefusalKey]) -> Result<(), MapError> {
        for key in keys {
            self.refusals.remove(key);
        }
        Ok(())
    }

    fn inbound(&mut self) -> Option<&mut dyn InboundMaps> {
        Some(&mut self.inbound)
    }
}
