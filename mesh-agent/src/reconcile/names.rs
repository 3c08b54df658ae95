//! What backends are called, for people.

use std::collections::HashMap;

use mesh_api::model::{Label, Name, ObjectName};
use mesh_common::backend::BackendIndex;

use super::Reconciler;
use crate::maps::MapStore;

/// A backend: its index and its generation.
pub type BackendKey = (BackendIndex, u32);

/// Names of backends.
pub type BackendNames = HashMap<BackendKey, Named>;

/// What a backend is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The service.
    pub service: ObjectName,
    /// The endpoint, of the service's namespace.
    pub endpoint: Name,
    /// Its version.
    pub version: Option<Label>,
    /// Its workload.
    pub workload: Option<Label>,
}

impl<M: MapStore> Reconciler<M> {
    /// Names of these backends. One that is not in use any more has none.
    pub fn names(&self, of: impl IntoIterator<Item = BackendKey>) -> BackendNames {
        of.into_iter().filter_map(|key| Some((key, self.name(key)?))).collect()
    }

    fn name(&self, (index, generation): BackendKey) -> Option<Named> {
        let backend = self.state.actual.backends.get(&index)?;
        let member = self.state.member(index).filter(|_| backend.generation == generation)?;
        let service = self.state.held.get(&backend.service)?.name.clone()?;
        Some(Named {
            service,
            endpoint: member.name.clone(),
            version: member.version.clone(),
            workload: member.workload.clone(),
        })
    }
}
