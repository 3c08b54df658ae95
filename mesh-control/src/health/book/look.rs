//! What the page asks: how many endpoints of each service are well, and all about one service.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_api::model::{Health, ObjectName};
use mesh_api::wire;

use super::super::show;
use super::HealthBook;

/// Endpoints of a service that are checked, by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Published as healthy.
    pub healthy: usize,
    /// Published as unhealthy.
    pub unhealthy: usize,
    /// Nothing is known.
    pub unknown: usize,
}

impl HealthBook {
    /// Services with a health check that have endpoints.
    #[must_use]
    pub fn tallies(&self, now: Instant) -> BTreeMap<ObjectName, Tally> {
        let mut tallies: BTreeMap<ObjectName, Tally> = BTreeMap::new();
        for view in self.lock().aggregator.views(now) {
            let service = &view.subject.service;
            // Names are cloned once for each service, not for each endpoint.
            if !tallies.contains_key(service) {
                tallies.insert(service.clone(), Tally::default());
            }
            if let Some(tally) = tallies.get_mut(service) {
                match view.status {
                    Some(Health::Healthy) => tally.healthy += 1,
                    Some(Health::Unhealthy) => tally.unhealthy += 1,
                    None => tally.unknown += 1,
                }
            }
        }
        tallies
    }

    /// What is known of some endpoints.
    #[must_use]
    pub fn views_of(
        &self,
        names: &[&ObjectName],
        now: Instant,
    ) -> BTreeMap<ObjectName, wire::EndpointHealthView> {
        let state = self.lock();
        let views = names.iter().filter_map(|name| state.aggregator.view(name, now));
        views.map(|view| (view.subject.name.clone(), show::view(&view))).collect()
    }

    /// Breakers that are not closed, and ejections, by node.
    #[must_use]
    pub fn guards(&self) -> Vec<wire::NodeGuards> {
        self.lock().guards.values().cloned().collect()
    }
}
