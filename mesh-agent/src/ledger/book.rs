//! One kind of counters by index, and who they are counted for.
//!
//! The kernel's counters only grow. Of each index the book knows a watermark: what was counted up
//! to there belongs to earlier holders and is in their totals. So the sum of all totals and of
//! what lies beyond the watermarks is what the kernel has counted, at every moment, whatever
//! steps are lost; steps only say for whom.

use std::collections::BTreeMap;

use super::account::Account;
use super::count::Count;

/// A change of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<C> {
    /// The index is about to be freed; what it counts until then is the account's.
    Leave(u32, Account),
    /// The index is not about to be freed any more.
    Stay(u32),
    /// What the index has counted up to here is the account's.
    Settle(u32, Account, C),
    /// The watermark of an index; only in a copy of the whole book.
    Mark(u32, C),
    /// The total of an account; only in a copy of the whole book.
    Total(Account, C),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book<C> {
    marks: BTreeMap<u32, C>,
    leaving: BTreeMap<u32, Account>,
    settled: BTreeMap<Account, C>,
}

impl<C> Default for Book<C> {
    fn default() -> Self {
        Self { marks: BTreeMap::new(), leaving: BTreeMap::new(), settled: BTreeMap::new() }
    }
}

impl<C: Count> Book<C> {
    /// Applies a step.
    pub fn apply(&mut self, step: &Step<C>) {
        match step {
            Step::Leave(index, account) => {
                self.leaving.insert(*index, account.clone());
            }
            Step::Stay(index) => drop(self.leaving.remove(index)),
            Step::Settle(index, account, raw) => {
                let counted = self.counted(*index, raw);
                if counted != C::default() {
                    let total = self.settled.entry(account.clone()).or_default();
                    *total = total.and(&counted);
                    self.mark(*index, *raw);
                }
                self.leaving.remove(index);
            }
            Step::Mark(index, raw) => self.mark(*index, *raw),
            Step::Total(account, total) => {
                self.settled.insert(account.clone(), *total);
            }
        }
    }

    fn mark(&mut self, index: u32, raw: C) {
        if raw == C::default() {
            self.marks.remove(&index);
        } else {
            self.marks.insert(index, raw);
        }
    }

    /// What an index has counted for its present holder, given what the kernel says.
    pub fn counted(&self, index: u32, raw: &C) -> C {
        self.marks.get(&index).map_or(*raw, |mark| raw.beyond(mark))
    }

    /// For whom an index counts that is about to be freed.
    #[must_use]
    pub fn leaver(&self, index: u32) -> Option<&Account> {
        self.leaving.get(&index)
    }

    /// All indices that are about to be freed.
    pub fn leaving(&self) -> impl Iterator<Item = (u32, &Account)> {
        self.leaving.iter().map(|(index, account)| (*index, account))
    }

    /// Totals of earlier holders.
    #[must_use]
    pub const fn settled(&self) -> &BTreeMap<Account, C> {
        &self.settled
    }

    /// Goes over to other counters, which began at 0. Where the present ones have ended at `last`,
    /// what they had beyond a watermark is below zero there; otherwise the book begins anew.
    pub fn go_over(&mut self, last: Option<&[C]>) {
        let Some(last) = last else {
            *self = Self::default();
            return;
        };
        for (index, last) in (0..).zip(last) {
            let mark = self.marks.get(&index).copied().unwrap_or_default();
            self.mark(index, mark.beyond(last));
        }
    }

    /// Counts this much of an index for nobody.
    pub fn skip(&mut self, index: u32, count: &C) {
        let mark = self.marks.get(&index).copied().unwrap_or_default();
        self.mark(index, mark.and(count));
    }

    /// Steps that make this book out of an empty one.
    pub fn steps(&self) -> impl Iterator<Item = Step<C>> {
        let totals =
            self.settled.iter().map(|(account, total)| Step::Total(account.clone(), *total));
        let marks = self.marks.iter().map(|(index, mark)| Step::Mark(*index, *mark));
        let leaving =
            self.leaving.iter().map(|(index, account)| Step::Leave(*index, account.clone()));
        totals.chain(marks).chain(leaving)
    }
}
