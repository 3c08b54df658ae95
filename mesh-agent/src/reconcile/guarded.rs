//! Whose the words are that guard connections, for whoever watches them. Only services that an
//! update touched are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::backend::BackendIndex;
use mesh_common::policy::Policy;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceIndex};

use super::state::State;
use crate::guard::directory::{Directory, Entry, Holder, Percentage};

/// What is known of the kernel services with guards, and what has to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    directory: Arc<Directory>,
    /// Services that count connections by backend.
    counting: BTreeSet<ServiceIndex>,
    /// Services that may have changed.
    touched: BTreeSet<ServiceIndex>,
    /// How many services have been looked at, and how many directories made.
    #[cfg(test)]
    pub(super) work: (usize, usize),
}

impl Guarded {
    /// Has a service looked at again.
    pub(super) fn touch(&mut self, index: ServiceIndex) {
        self.touched.insert(index);
    }

    /// The kernel services with guards, without their policies; the same until one changes.
    pub(super) const fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }
}

impl State {
    /// Has every service looked at again.
    pub(super) fn touch_all_guarded(&mut self) {
        let known = self.guarded.directory.services.iter().map(|entry| entry.index);
        let touched = known.chain(self.guarded.counting.iter().copied());
        self.guarded.touched = touched.chain(self.held.keys().copied()).collect();
    }

    /// Brings the directory to what the maps hold. Costs what the services that were touched and
    /// their backends cost, and a copy of the directory where one of them is another than before.
    pub(super) fn settle_guarded(&mut self) {
        let touched = std::mem::take(&mut self.guarded.touched);
        let mut changed: BTreeMap<ServiceIndex, Option<Entry>> = BTreeMap::new();
        for index in touched {
            let head = self.actual.services.get(&index);
            let counts = head.is_some_and(|it| it.algorithm == Algorithm::LEAST_CONNECTIONS);
            let is_guarded = head.is_some_and(|it| it.flags.contains(ServiceFlags::GUARDED));
            if counts {
                self.guarded.counting.insert(index);
            } else {
                self.guarded.counting.remove(&index);
            }
            let entry = is_guarded.then(|| self.guarded_entry(index)).flatten();
            #[cfg(test)]
            {
                self.guarded.work.0 += usize::from(entry.is_some());
            }
            if entry.as_ref() != self.guarded.directory.find(index) {
                changed.insert(index, entry);
            }
        }
        let counts_active = !self.guarded.counting.is_empty();
        let before = &self.guarded.directory;
        if changed.is_empty() && counts_active == before.counts_active {
            return;
        }
        let others = before.services.iter().filter(|entry| !changed.contains_key(&entry.index));
        let mut services: Vec<Entry> = others.cloned().collect();
        services.extend(changed.into_values().flatten());
        services.sort_by_key(|entry| entry.index);
        self.guarded.directory = Arc::new(Directory { services, counts_active });
        #[cfg(test)]
        {
            self.guarded.work.1 += 1;
        }
    }

    fn guarded_entry(&self, index: ServiceIndex) -> Option<Entry> {
        let holding = self.held.get(&index)?;
        let owner = holding.owner?;
        let group = self.world.group(owner.group)?;
        let detection = group.config.as_ref().and_then(|it| it.outlier_detection.as_deref());
        let holder = |index: BackendIndex| {
            let member = self.member(index)?;
            let generation = self.actual.backends.get(&index)?.generation;
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
