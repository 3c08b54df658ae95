//! The book of edges: what was counted by client and is not in the map any more, or not for whom
//! it is counted now.
//!
//! As in [`super::book`], a watermark says up to where an edge's counters belong to what is
//! settled. An edge is settled first, then deleted from the map, then its watermark is dropped; a
//! key that comes back begins at 0. Whatever is lost of these steps, what is settled and what lies
//! beyond the watermarks come to what was counted.

use std::collections::BTreeMap;

use mesh_api::model::Label;
use mesh_common::edge::{EdgeCounters, EdgeKey};

use super::account::Account;
use super::count::Count as _;
use crate::edges::{Edges, Source, add};

/// A change of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeStep {
    /// A cgroup is called so; `None`: nothing is counted for it any more.
    Name(u64, Option<Label>),
    /// What the edge has counted up to here is this source's and this account's.
    Settle(EdgeKey, Source, Account, EdgeCounters),
    /// The edge is not in the map any more.
    Drop(EdgeKey),
    /// What is settled of this source is counted as of others from here on.
    Fold(Source),
    /// The watermark of an edge; only in a copy of the whole book.
    Mark(EdgeKey, EdgeCounters),
    /// What is settled; only in a copy of the whole book.
    Total(Source, Account, EdgeCounters),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeBook {
    names: BTreeMap<u64, Label>,
    marks: BTreeMap<EdgeKey, EdgeCounters>,
    settled: Edges,
}

impl EdgeBook {
    /// Applies a step.
    pub fn apply(&mut self, step: &EdgeStep) {
        match step {
            EdgeStep::Name(cgroup, Some(name)) => {
                self.names.insert(*cgroup, name.clone());
            }
            EdgeStep::Name(cgroup, None) => drop(self.names.remove(cgroup)),
            EdgeStep::Settle(key, source, account, raw) => {
                let counted = self.counted(key, raw);
                if counted != EdgeCounters::ZERO {
                    add(&mut self.settled, source.clone(), account, &counted);
                    self.marks.insert(*key, *raw);
                }
            }
            EdgeStep::Drop(key) => drop(self.marks.remove(key)),
            EdgeStep::Fold(source) => self.fold(source),
            EdgeStep::Mark(key, raw) => drop(self.marks.insert(*key, *raw)),
            EdgeStep::Total(source, account, total) => {
                self.settled.insert((source.clone(), account.clone()), *total);
            }
        }
    }

    fn fold(&mut self, source: &Source) {
        let of_it = |(found, _): &&(Source, Account)| found == source;
        let keys: Vec<_> = self.settled.keys().filter(of_it).cloned().collect();
        for key in keys {
            if let Some(counters) = self.settled.remove(&key) {
                add(&mut self.settled, Source::Other, &key.1, &counters);
            }
        }
    }

    /// What an edge has counted for whom it is counted now, given what the kernel says.
    #[must_use]
    pub fn counted(&self, key: &EdgeKey, raw: &EdgeCounters) -> EdgeCounters {
        self.marks.get(key).map_or(*raw, |mark| raw.beyond(mark))
    }

    /// Edges with a watermark.
    pub fn marks(&self) -> impl Iterator<Item = (&EdgeKey, &EdgeCounters)> {
        self.marks.iter()
    }

    /// Names of cgroups that something was counted for.
    #[must_use]
    pub const fn names(&self) -> &BTreeMap<u64, Label> {
        &self.names
    }

    /// What is settled.
    #[must_use]
    pub const fn settled(&self) -> &Edges {
        &self.settled
    }

    /// Goes over to another map, which is empty.
    pub(super) fn go_over(&mut self) {
        self.names.clear();
        self.marks.clear();
    }

    /// Steps that make this book out of an empty one.
    pub fn steps(&self) -> impl Iterator<Item = EdgeStep> {
        let total = |((source, account), total): (&(Source, Account), &EdgeCounters)| {
            EdgeStep::Total(source.clone(), account.clone(), *total)
        };
        let name = |(cgroup, name): (&u64, &Label)| EdgeStep::Name(*cgroup, Some(name.clone()));
        let mark = |(key, mark): (&EdgeKey, &EdgeCounters)| EdgeStep::Mark(*key, *mark);
        let totals = self.settled.iter().map(total);
        totals.chain(self.names.iter().map(name)).chain(self.marks.iter().map(mark))
    }
}
