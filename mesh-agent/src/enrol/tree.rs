//! The cgroups that exist, with the decision for each.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Verdict;
use super::rules::{Rules, Why};

/// A directory of the cgroup tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// From the root of cgroup v2; the root is `/`. First, so that parents sort before children.
    pub path: String,
    /// Inode number of the directory; unique while the machine runs.
    pub id: u64,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id.
    pub id: u64,
    /// Whether it is in, and why.
    pub why: Why,
}

/// All cgroups of the hierarchy below (and with) the one to which the programs are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    rules: Arc<Rules>,
    /// By path: parents come before their children.
    cgroups: BTreeMap<String, Cgroup>,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub const fn new(rules: Arc<Rules>) -> Self {
        Self { rules, cgroups: BTreeMap::new() }
    }

    /// Adds a cgroup, or replaces the one that was at its path. Returns its id and verdict if it
    /// is new.
    pub fn put(&mut self, found: Found) -> Option<(u64, Verdict)> {
        let Found { path, id } = found;
        if self.cgroups.get(&path).is_some_and(|known| known.id == id) {
            return None;
        }
        // What was below a directory that was removed and made again is gone.
        self.remove(&path);
        let parent = parent(&path).and_then(|parent| self.cgroups.get(parent));
        let why = match parent {
            Some(parent) => self.rules.cgroup(Some(&parent.why), &path),
            None => self.rules.cgroup_at(&path),
        };
        let verdict = why.verdict();
        self.cgroups.insert(path, Cgroup { id, why });
        Some((id, verdict))
    }

    /// Removes a cgroup and all below. Returns whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        let below: Vec<String> = self.below(path).cloned().collect();
        for path in &below {
            self.cgroups.remove(path);
        }
        self.cgroups.remove(path).is_some() || !below.is_empty()
    }

    /// Paths below a path.
    fn below(&self, path: &str) -> impl Iterator<Item = &String> {
        let base = if path == "/" { "" } else { path };
        // `0` comes after `/`.
        let (from, to) = (format!("{base}/"), format!("{base}0"));
        let range = (Bound::Excluded(from), Bound::Excluded(to));
        self.cgroups.range::<String, _>(range).map(|(path, _)| path)
    }

    /// Makes the tree what a scan found. Returns whether anything is new.
    pub fn replace(&mut self, found: Vec<Found>) -> bool {
        let mut new = Self::new(Arc::clone(&self.rules));
        let mut found = found;
        found.sort_unstable();
        for cgroup in found {
            new.put(cgroup);
        }
        let changed = new.cgroups != self.cgroups;
        *self = new;
        changed
    }

    /// All cgroups by path, parents before children.
    pub fn cgroups(&self) -> impl Iterator<Item = (&String, &Cgroup)> {
        self.cgroups.iter()
    }

    /// The cgroup at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Cgroup> {
        self.cgroups.get(path)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cgroups.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cgroups.is_empty()
    }
}

/// The path above; `None` above the root.
#[must_use]
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// How deep a path is; the root is at 0.
#[must_use]
pub fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}
