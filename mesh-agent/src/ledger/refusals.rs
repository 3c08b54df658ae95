//! The book of refusals: what services have refused by client, and is not in the map any more, or not
//! for whom it is counted now. The steps are those of the book of edges, see [`super::edges`].

use std::collections::BTreeMap;

use mesh_api::model::Label;
use mesh_common::refusal::{RefusalCounters, RefusalKey};

use super::account::Account;
use super::count::Count as _;
use super::edges::Move;
use crate::edges::Source;
use crate::edges::refusals::{Refusals, add};

/// A change of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalStep {
    /// What the entry has counted up to here is this source's and this account's.
    Settle(RefusalKey, Source, Account, RefusalCounters),
    /// The entry is not in the map any more.
    Drop(RefusalKey),
    /// What of an account is told as nobody's.
    Rest(Account, u64),
    /// The watermark of an entry; only in a copy of the whole book.
    Mark(RefusalKey, RefusalCounters),
    /// What is settled; only in a copy of the whole book.
    Total(Source, Account, RefusalCounters),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalBook {
    marks: BTreeMap<RefusalKey, RefusalCounters>,
    settled: Refusals,
    rest: BTreeMap<Account, u64>,
}

impl RefusalBook {
    /// Applies a step.
    pub fn apply(&mut self, step: &RefusalStep) {
        match step {
            RefusalStep::Settle(key, source, account, raw) => {
                let counted = self.counted(key, raw);
                if counted != RefusalCounters::ZERO {
                    add(&mut self.settled, source.clone(), account, &counted);
                    self.marks.insert(*key, *raw);
                }
            }
            RefusalStep::Drop(key) => drop(self.marks.remove(key)),
            RefusalStep::Rest(account, 0) => drop(self.rest.remove(account)),
            RefusalStep::Rest(account, rest) => drop(self.rest.insert(account.clone(), *rest)),
            RefusalStep::Mark(key, raw) => drop(self.marks.insert(*key, *raw)),
            RefusalStep::Total(source, account, total) => {
                self.settled.insert((source.clone(), account.clone()), *total);
            }
        }
    }

    /// Counts what is settled of a workload as of others; returns what has moved there.
    pub(super) fn fold(&mut self, name: &Label) -> Vec<Move> {
        let source = Source::Workload(name.clone());
        let of_it = |(found, _): &&(Source, Account)| *found == source;
        let keys: Vec<_> = self.settled.keys().filter(of_it).cloned().collect();
        let mut moves = Vec::new();
        for (from, account) in keys {
            if let Some(refused) = self.settled.remove(&(from.clone(), account.clone())) {
                add(&mut self.settled, Source::Other, &account, &refused);
                moves.push(Move { from, account, refused, ..Move::default() });
            }
        }
        moves
    }

    /// What an entry has counted for whom it is counted now, given what the kernel says.
    #[must_use]
    pub fn counted(&self, key: &RefusalKey, raw: &RefusalCounters) -> RefusalCounters {
        self.marks.get(key).map_or(*raw, |mark| raw.beyond(mark))
    }

    /// Whether an entry has a watermark.
    #[must_use]
    pub fn has_mark(&self, key: &RefusalKey) -> bool {
        self.marks.contains_key(key)
    }

    /// Entries with a watermark.
    pub fn marks(&self) -> impl Iterator<Item = (&RefusalKey, &RefusalCounters)> {
        self.marks.iter()
    }

    /// What is settled.
    #[must_use]
    pub const fn settled(&self) -> &Refusals {
        &self.settled
    }

    /// What of an account is told as nobody's.
    #[must_use]
    pub const fn rest(&self) -> &BTreeMap<Account, u64> {
        &self.rest
    }

    /// Goes over to another map, which is empty. What the one before had counted and is not settled
    /// is nobody's from here on.
    pub(super) fn go_over(&mut self) {
        self.marks.clear();
    }

    /// Steps that make this book out of an empty one.
    pub fn steps(&self) -> impl Iterator<Item = RefusalStep> {
        let total = |((source, account), total): (&(Source, Account), &RefusalCounters)| {
            RefusalStep::Total(source.clone(), account.clone(), *total)
        };
        let mark = |(key, mark): (&RefusalKey, &RefusalCounters)| RefusalStep::Mark(*key, *mark);
        let rest = |(account, rest): (&Account, &u64)| RefusalStep::Rest(account.clone(), *rest);
        let totals = self.settled.iter().map(total);
        totals.chain(self.marks.iter().map(mark)).chain(self.rest.iter().map(rest))
    }
}
