//! Who is behind the id of a cgroup. Ids are given out once, so that a name once found stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use mesh_api::clients;
use mesh_api::model::Label;

use super::Source;
use crate::workload::by_id::Cgroups;
use crate::workload::identity::identify;

/// How many new cgroups are remembered before anything is counted for them.
const NEW: usize = 1_024;

/// Who knows where cgroups are.
#[derive(Debug)]
enum Paths {
    Kernel(Cgroups),
    #[cfg(test)]
    Fixed(BTreeMap<u64, String>),
}

impl Paths {
    fn of(&self, id: u64) -> io::Result<Option<String>> {
        match self {
            Self::Kernel(cgroups) => cgroups.path(id),
            #[cfg(test)]
            Self::Fixed(paths) => Ok(paths.get(&id).cloned()),
        }
    }
}

/// Names by cgroup id.
#[derive(Debug, Default)]
pub struct Names {
    paths: Option<Paths>,
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
        Ok(Self { paths: Some(Paths::Kernel(Cgroups::open(root)?)), ..Self::default() })
    }

    /// Names of cgroups that stay.
    #[cfg(test)]
    pub(crate) fn fixed<const N: usize>(paths: [(u64, &str); N]) -> Self {
        let paths = paths.into_iter().map(|(id, path)| (id, path.to_owned())).collect();
        Self { paths: Some(Paths::Fixed(paths)), ..Self::default() }
    }

    /// Takes over what was known.
    pub fn remember(&mut self, names: &BTreeMap<u64, Label>) {
        self.known.extend(names.iter().map(|(id, name)| (*id, Some(name.clone()))));
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
        match self.paths.as_ref().map(|paths| paths.of(id)) {
            Some(Ok(path)) => {
                let name =
                    path.and_then(|path| clients::name_of(&identify(&path, id).name).parse().ok());
                self.known.insert(id, name);
            }
            Some(Err(error)) if !self.refused => {
                tracing::warn!(%error, "clients have no names: cannot open a cgroup by its id");
                self.refused = true;
            }
            Some(Err(_)) | None => {}
        }
    }

    /// The name of a workload, found out now if need be.
    pub fn look(&mut self, cgroup: u64) -> Option<&Label> {
        self.find(cgroup);
        self.name(cgroup)
    }

    /// The name of a workload.
    #[must_use]
    pub fn name(&self, cgroup: u64) -> Option<&Label> {
        self.known.get(&cgroup).and_then(Option::as_ref)
    }

    /// Those of them that are not there any more.
    #[must_use]
    pub fn gone(&self, ids: &BTreeSet<u64>) -> BTreeSet<u64> {
        let gone = |id: &&u64| {
            let path = self.paths.as_ref().map(|paths| paths.of(**id));
            **id != 0 && matches!(path, Some(Ok(None)))
        };
        ids.iter().filter(gone).copied().collect()
    }

    /// Who it is.
    #[must_use]
    pub fn source(&self, cgroup: u64) -> Source {
        self.name(cgroup).cloned().map_or(Source::Unknown, Source::Workload)
    }
}
