//! The book of edges: what was counted by client and is not in the map any more, or not for whom
//! it is counted now.
//!
//! As in [`super::book`], a watermark says up to where an edge's counters belong to what is
//! settled. An edge is settled first, then deleted from the map, then its watermark is dropped; a
//! key that comes back begins at 0. Whatever is lost of these steps, what is settled and what lies
//! beyond the watermarks come to what was counted.
//!
//! A total that is counted as of others from some moment on has not grown there. Whoever has heard
//! of it under its own name has to be told: the book keeps such moves until that has been answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mesh_api::model::Label;
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::refusal::RefusalCounters;

use super::account::Account;
use super::count::Count as _;
use crate::edges::{Edges, Seat, Source, add};

/// Moves that are kept for who has not answered. If there are more, it learns that it has missed some.
pub const MOVES: usize = 1_024;

/// What is counted as of others from here on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// Who has made the connections.
    pub from: Source,
    /// Where they go.
    pub account: Account,
    /// All that was counted.
    pub counters: EdgeCounters,
    /// All that was refused.
    pub refused: RefusalCounters,
}

/// A change of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeStep {
    /// A cgroup is called so; `None`: nothing is counted for it any more.
    Name(u64, Option<Label>),
    /// What the edge has counted up to here is this source's and this account's.
    Settle(EdgeKey, Source, Account, EdgeCounters),
    /// The edge is not in the map any more.
    Drop(EdgeKey),
    /// Who has rows of its own, and who is counted with others: what is settled of it as well.
    Seat(Seat),
    /// Whoever has to be told knows the moves up to this number.
    Told(u64),
    /// What of an account is told as nobody's.
    Rest(Account, Vec<u64>),
    /// A move that is kept; only in a copy of the whole book.
    Move(Move),
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
    own: BTreeSet<Label>,
    others: BTreeSet<Label>,
    rest: BTreeMap<Account, Vec<u64>>,
    moves: VecDeque<Move>,
    /// Number of the last of them.
    moved: u64,
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
            EdgeStep::Seat(seat) => self.seat(seat),
            EdgeStep::Told(number) => {
                let left =
                    usize::try_from(self.moved.saturating_sub(*number)).unwrap_or(usize::MAX);
                self.moves.drain(..self.moves.len().saturating_sub(left));
                self.moved = self.moved.max(*number);
            }
            EdgeStep::Rest(account, numbers) if numbers.iter().all(|number| *number == 0) => {
                self.rest.remove(account);
            }
            EdgeStep::Rest(account, numbers) => {
                self.rest.insert(account.clone(), numbers.clone());
            }
            EdgeStep::Move(it) => self.keep(it.clone()),
            EdgeStep::Mark(key, raw) => drop(self.marks.insert(*key, *raw)),
            EdgeStep::Total(source, account, total) => {
                self.settled.insert((source.clone(), account.clone()), *total);
            }
        }
    }

    fn seat(&mut self, seat: &Seat) {
        let (Seat::Own(name) | Seat::Others(name) | Seat::Fold(name) | Seat::Gone(name)) = seat;
        self.own.remove(name);
        self.others.remove(name);
        match seat {
            Seat::Own(name) => drop(self.own.insert(name.clone())),
            Seat::Others(name) => {
                self.fold(name);
                self.others.insert(name.clone());
            }
            Seat::Fold(name) => self.fold(name),
            Seat::Gone(_) => {}
        }
    }

    fn fold(&mut self, name: &Label) {
        let source = Source::Workload(name.clone());
        let of_it = |(found, _): &&(Source, Account)| *found == source;
        let keys: Vec<_> = self.settled.keys().filter(of_it).cloned().collect();
        for key in keys {
            if let Some(counters) = self.settled.remove(&key) {
                add(&mut self.settled, Source::Other, &key.1, &counters);
                self.keep(Move { from: key.0, account: key.1, counters, ..Move::default() });
            }
        }
    }

    pub(super) fn keep(&mut self, it: Move) {
        self.moves.push_back(it);
        self.moved += 1;
        if self.moves.len() > MOVES {
            self.moves.pop_front();
        }
    }

    /// What of an account is told as nobody's.
    #[must_use]
    pub const fn rest(&self) -> &BTreeMap<Account, Vec<u64>> {
        &self.rest
    }

    /// Who has rows of its own, and who is counted with others.
    #[must_use]
    pub const fn seats(&self) -> (&BTreeSet<Label>, &BTreeSet<Label>) {
        (&self.own, &self.others)
    }

    /// Moves that somebody has to be told, in order, and the number of the last.
    #[must_use]
    pub const fn moves(&self) -> (&VecDeque<Move>, u64) {
        (&self.moves, self.moved)
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

    /// Goes over to another map, which is empty. What the one before had counted and is not settled
    /// is nobody's from here on. That is a move nobody can say: it is missed.
    pub(super) fn go_over(&mut self) {
        self.names.clear();
        self.marks.clear();
        self.miss_moves();
    }

    /// Totals have become less, and nobody can say of what.
    pub(super) fn miss_moves(&mut self) {
        self.moves.clear();
        self.moved += 1;
    }

    /// Steps that make this book out of an empty one.
    pub fn steps(&self) -> impl Iterator<Item = EdgeStep> {
        let total = |((source, account), total): (&(Source, Account), &EdgeCounters)| {
            EdgeStep::Total(source.clone(), account.clone(), *total)
        };
        let name = |(cgroup, name): (&u64, &Label)| EdgeStep::Name(*cgroup, Some(name.clone()));
        let mark = |(key, mark): (&EdgeKey, &EdgeCounters)| EdgeStep::Mark(*key, *mark);
        let totals = self.settled.iter().map(total);
        let moves = u64::try_from(self.moves.len()).unwrap_or(0);
        let told = Some(self.moved - moves).filter(|told| *told > 0).map(EdgeStep::Told);
        let moves = self.moves.iter().cloned().map(EdgeStep::Move);
        let parts = totals.chain(self.names.iter().map(name)).chain(self.marks.iter().map(mark));
        let own = self.own.iter().cloned().map(Seat::Own);
        let seats = own.chain(self.others.iter().cloned().map(Seat::Others)).map(EdgeStep::Seat);
        let rest = self.rest.iter();
        let rest = rest.map(|(account, numbers)| EdgeStep::Rest(account.clone(), numbers.clone()));
        parts.chain(told).chain(moves).chain(seats).chain(rest)
    }
}
