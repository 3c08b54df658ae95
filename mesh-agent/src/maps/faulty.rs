//! Maps that fail when told to: for the property that a reconciliation recovers from a failure
//! of any operation.

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::ServiceIndex;

use super::inbound::InboundMaps;
use super::{Held, MapError, MapStore};
use crate::compile::Limits;
use crate::diff::MapOp;
use crate::image::MapImage;

/// Another store, of which one operation fails.
#[derive(Clone, Debug)]
pub struct FaultyMaps<M> {
    inner: M,
    done: usize,
    fail_at: Option<usize>,
}

impl<M> FaultyMaps<M> {
    /// The operation number `fail_at`, from 0, fails once; all others are `inner`'s.
    pub const fn new(inner: M, fail_at: usize) -> Self {
        Self { inner, done: 0, fail_at: Some(fail_at) }
    }

    /// Counts an operation, which may have been told to fail.
    const fn next(&mut self) -> Result<(), MapError> {
        let number = self.done;
        self.done += 1;
        match self.fail_at {
            Some(at) if at == number => {
                self.fail_at = None;
                Err(MapError::Planned(number))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The store behind.
    pub const fn inner(&self) -> &M {
        &self.inner
    }
}

impl<M: MapStore> MapStore for FaultyMaps<M> {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        self.next()?;
        self.inner.apply(op)
    }

    fn read(&self) -> Result<MapImage, MapError> {
        self.inner.read()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.inner.set_held(held)
    }

    fn held(&self) -> Result<Held, MapError> {
        self.inner.held()
    }

    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        self.inner.backend_counters(index)
    }

    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        self.inner.service_counters(index)
    }

    fn edges(&self) -> Result<Vec<(EdgeKey, EdgeCounters)>, MapError> {
        self.inner.edges()
    }

    fn delete_edges(&mut self, keys: &[EdgeKey]) -> Result<(), MapError> {
        self.next()?;
        self.inner.delete_edges(keys)
    }

    fn refusals(&self) -> Result<Vec<(RefusalKey, RefusalCounters)>, MapError> {
        self.inner.refusals()
    }

    fn delete_refusals(&mut self, keys: &[RefusalKey]) -> Result<(), MapError> {
        self.next()?;
        self.inner.delete_refusals(keys)
    }

    fn inbound(&mut self) -> Option<&mut dyn InboundMaps> {
        self.inner.inbound()
    }
}
