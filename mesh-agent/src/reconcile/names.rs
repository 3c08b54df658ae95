//! What backends are called, for people.

use std::collections::HashMap;

use mesh_api::model::{Label, Name, ObjectName};
use mesh_common::backend::BackendIndex;
use mesh_common::service::ServiceIndex;

use super::Reconciler;
use crate::maps::MapStore;

/// A backend: its index and its generation.
pub type BackendKey = (BackendIndex, u32);

/// Names of backends.
pub type BackendNames = HashMap<BackendKey, Named>;

/// What events name by numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Backends.
    pub backends: Vec<BackendKey>,
    /// Services.
    pub services: Vec<ServiceIndex>,
    /// Cgroups of clients.
    pub cgroups: Vec<u64>,
}

/// What these are called. One that nobody knows has no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Backends.
    pub backends: BackendNames,
    /// Services.
    pub services: HashMap<ServiceIndex, ObjectName>,
    /// Workloads of clients, by cgroup.
    pub sources: HashMap<u64, Label>,
}

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

    /// What all these are called.
    pub fn called(&mut self, numbers: Numbers) -> Called {
        let Numbers { backends, services, cgroups } = numbers;
        let service = |index: ServiceIndex| self.state.held.get(&index)?.name.clone();
        let services = services.into_iter().filter_map(|it| Some((it, service(it)?))).collect();
        let backends = self.names(backends);
        let source = |id| Some((id, self.names.look(id)?.clone()));
        Called { backends, services, sources: cgroups.into_iter().filter_map(source).collect() }
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
