//! Whose the words are that guard connections, for whoever watches them.

use mesh_common::policy::Policy;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceIndex};

use super::Reconciler;
use super::state::Holding;
use crate::guard::directory::{Directory, Entry, Holder, Percentage};
use crate::maps::MapStore;

impl<M: MapStore> Reconciler<M> {
    /// The kernel services with guards, as the maps hold them; without their policies. Costs what
    /// they and their backends cost.
    #[must_use]
    pub fn guarded(&self) -> Directory {
        let services = &self.state.actual.services;
        let counts = services.iter().any(|(_, it)| it.algorithm == Algorithm::LEAST_CONNECTIONS);
        let guarded = services.iter().filter(|(_, it)| it.flags.contains(ServiceFlags::GUARDED));
        let entries = guarded.filter_map(|(index, _)| {
            let holding = self.state.held.get(&index)?;
            self.entry(index, holding)
        });
        Directory { services: entries.collect(), counts_active: counts }
    }

    fn entry(&self, index: ServiceIndex, holding: &Holding) -> Option<Entry> {
        let owner = holding.owner?;
        let group = self.state.world.group(owner.group)?;
        let detection = group.config.as_ref().and_then(|it| it.outlier_detection.as_deref());
        let holder = |index| {
            let member = self.state.member(index)?;
            let generation = self.state.actual.backends.get(&index)?.generation;
            Some(Holder { index, generation, endpoint: member.name.clone() })
        };
        let mut backends: Vec<Holder> =
            holding.backends.iter().filter_map(|index| holder(*index)).collect();
        backends.sort_by_key(|backend| backend.index);
        Some(Entry {
            index,
            name: group.name.clone(),
            port: owner.port,
            family: owner.family,
            percentage: detection.and_then(Percentage::of),
            policy: Policy::default(),
            backends,
        })
    }
}
