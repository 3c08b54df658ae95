//! Which workloads have rows of their own: so many that metrics stay readable and bounded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::Label;

use super::{Edges, Source, add};

/// How many have, where nothing else is said.
pub const SOURCES: usize = 256;

/// See the module.
///
/// Whoever has rows keeps them while it exists, so that they never fall; of those that have gone,
/// the one that was used least makes room for a new one, and is counted with the others from then
/// on. Who finds no room is counted with the others until the agent starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    most: usize,
    own: BTreeSet<Label>,
    others: BTreeSet<Label>,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new(SOURCES)
    }
}

impl Roster {
    /// Nobody has rows; as many as `most` can.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, own: BTreeSet::new(), others: BTreeSet::new() }
    }

    /// How many have rows of their own, and how many are counted together.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.own.len(), self.others.len())
    }

    /// As whom a client is counted.
    #[must_use]
    pub fn source(&self, source: Source) -> Source {
        match &source {
            Source::Workload(name) if self.others.contains(name) => Source::Other,
            Source::Workload(_) | Source::Other | Source::Unknown => source,
        }
    }

    /// Takes in who is new among `edges`, the most used first; `live` are those that still exist.
    /// Returns those that have to be counted with the others from here on.
    pub fn admit(&mut self, edges: &Edges, live: &BTreeSet<Label>) -> Vec<Label> {
        let mut used: BTreeMap<&Label, u64> = BTreeMap::new();
        for ((source, _), counters) in edges {
            if let Source::Workload(name) = source {
                let failed: u64 = counters.failed.iter().sum();
                *used.entry(name).or_default() += counters.opened.saturating_add(failed);
            }
        }
        self.own.retain(|name| used.contains_key(name));
        self.others.retain(|name| live.contains(name));
        let known = |name: &Label| self.own.contains(name) || self.others.contains(name);
        let mut new: Vec<(u64, Label)> = used
            .iter()
            .filter(|(name, _)| !known(name))
            .map(|(name, uses)| (*uses, (*name).clone()))
            .collect();
        new.sort_unstable_by(|a, b| b.cmp(a));
        let mut folded = Vec::new();
        for (_, name) in new {
            if self.own.len() >= self.most {
                let gone = self.own.iter().filter(|name| !live.contains(*name));
                let least = gone.min_by_key(|name| used.get(name)).cloned();
                if !live.contains(&name) {
                    folded.push(name);
                    continue;
                }
                let Some(least) = least else {
                    self.others.insert(name);
                    continue;
                };
                self.own.remove(&least);
                folded.push(least);
            }
            self.own.insert(name);
        }
        folded
    }

    /// Counts those together that have no rows of their own.
    pub fn put_together(&self, edges: &mut Edges, folded: &[Label]) {
        let goes = |source: &Source| match source {
            Source::Workload(name) => self.others.contains(name) || folded.contains(name),
            Source::Other | Source::Unknown => false,
        };
        let keys: Vec<_> = edges.keys().filter(|(source, _)| goes(source)).cloned().collect();
        for key in keys {
            if let Some(counters) = edges.remove(&key) {
                add(edges, Source::Other, &key.1, &counters);
            }
        }
    }
}
