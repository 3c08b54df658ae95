//! Who is counted for what the kernel counts by client.

use mesh_common::backend::BackendIndex;
use mesh_common::edge::{EdgeCounters, EdgeKey};

use super::Reconciler;
use crate::edges::names::Names;
use crate::edges::{Edges, add};
use crate::ledger::Account;
use crate::maps::MapStore;

impl<M: MapStore> Reconciler<M> {
    /// Says who clients are; before that, nobody knows.
    pub fn set_names(&mut self, names: Names) {
        self.names = names;
    }

    /// Finds out about cgroups that have just been made, as long as they are there.
    pub fn meet(&mut self, cgroups: impl Iterator<Item = u64>) {
        self.names.meet(cgroups);
    }

    /// What of `raw` is of backends that are in the maps, by who is counted.
    pub fn edges(&mut self, raw: &[(EdgeKey, EdgeCounters)]) -> Edges {
        self.names.follow(&raw.iter().map(|(key, _)| key.cgroup).collect());
        let mut edges = Edges::new();
        for (key, counters) in raw {
            if let Some(account) = self.edge_account(key) {
                add(&mut edges, self.names.source(key.cgroup), &account, counters);
            }
        }
        edges
    }

    /// Who is counted for an edge; `None` where its backend is not the one in the maps.
    fn edge_account(&self, key: &EdgeKey) -> Option<Account> {
        let backend = self.state.actual.backends.get(&key.backend)?;
        (backend.generation == key.generation).then(|| self.account(key.backend))
    }

    /// Who is counted for a backend in the maps.
    pub(super) fn account(&self, index: BackendIndex) -> Account {
        let left = self.journal.leaver(index).cloned();
        left.or_else(|| self.state.account(index)).unwrap_or_default()
    }
}
