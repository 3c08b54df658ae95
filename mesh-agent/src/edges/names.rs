//! Who is behind the id of a cgroup. Ids are given out once, so that a name once found stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use mesh_api::model::Label;

use super::Source;
use crate::workload::by_id::Cgroups;
use crate::workload::identity::identify;

/// How many new cgroups are remembered before anything is counted for them.
const NEW: usize = 1_024;

/// Names by cgroup id.
#[derive(Debug, Default)]
pub struct Names {
    cgroups: Option<Cgroups>,
    /// `None`: it has gone, and nobody knows.
    known: BTreeMap<u64, Option<Label>>,
    /// The last that were made, which have the highest ids: those that make connections do so soon.
    new: BTreeSet<u64>,
    /// The kernel has said that it does not tell; the log has it.
    refused: bool,
}

impl Names {
    /// Names of the cgroups mounted at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { cgroups: Some(Cgroups::open(root)?), ..Self::default() })
    }

    /// Finds out about cgroups that have just been made, as long as they are there.
    pub fn meet(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            self.find(id);
            self.new.insert(id);
            if self.new.len() > NEW
                && let Some(old) = self.new.pop_first()
            {
                self.known.remove(&old);
            }
        }
    }

    /// Finds out about these, which something is counted for, and forgets all others.
    pub fn follow(&mut self, ids: &BTreeSet<u64>) {
        let new = &self.new;
        self.known.retain(|id, _| ids.contains(id) || new.contains(id));
        self.new.retain(|id| !ids.contains(id));
        for id in ids {
            self.find(*id);
        }
    }

    fn find(&mut self, id: u64) {
        if id == 0 || self.known.contains_key(&id) {
            return;
        }
        match self.cgroups.as_ref().map(|cgroups| cgroups.path(id)) {
            Some(Ok(path)) => {
                let name = path.and_then(|path| identify(&path, id).name.parse().ok());
                self.known.insert(id, name);
            }
            Some(Err(error)) if !self.refused => {
                tracing::warn!(%error, "clients have no names: cannot open a cgroup by its id");
                self.refused = true;
            }
            Some(Err(_)) | None => {}
        }
    }

    /// Who it is.
    #[must_use]
    pub fn source(&self, cgroup: u64) -> Source {
        self.known.get(&cgroup).cloned().flatten().map_or(Source::Unknown, Source::Workload)
    }
}
