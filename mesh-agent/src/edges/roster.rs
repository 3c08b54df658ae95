//! Which workloads have rows of their own: so many that metrics stay readable and bounded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::Label;

use super::Source;
use crate::ledger::{Account, Count};

/// How many have, where nothing else is said.
pub const SOURCES: usize = 256;
/// Rows of workloads to services and versions beyond which those that have gone are counted with the
/// others, the least used first, however few workloads there are.
const ROWS: usize = 50_000;

/// See the module.
///
/// Whoever has rows keeps them while it exists, so that they never fall; of those that have gone,
/// the one that was used least makes room for a new one, and is counted with the others from then
/// on. Who finds no room is counted with the others for as long as it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    most: usize,
    rows: usize,
    own: BTreeSet<Label>,
    others: BTreeSet<Label>,
}

/// How often, and in how many rows.
type Used<'a> = BTreeMap<&'a Label, (u64, usize)>;

/// A change of the roster; the journal has them all, so that the next agent goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It has rows of its own.
    Own(Label),
    /// It is counted with the others, with what it may have counted before.
    Others(Label),
    /// It has gone, and is counted with the others for good.
    Fold(Label),
    /// Nothing is counted for it.
    Gone(Label),
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
        Self { most, rows: ROWS, own: BTreeSet::new(), others: BTreeSet::new() }
    }

    /// Goes on with who had rows of their own, and who was counted with the others.
    pub fn take_over(&mut self, (own, others): (&BTreeSet<Label>, &BTreeSet<Label>)) {
        self.own.clone_from(own);
        self.others.clone_from(others);
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

    /// Takes in who is new among those that have rows, the most used first; `live` are those that
    /// still exist. Returns what has changed.
    pub fn admit<'a>(
        &mut self,
        all: impl Iterator<Item = (&'a Source, u64)>,
        live: &'a BTreeSet<Label>,
    ) -> Vec<Seat> {
        let mut used = Used::new();
        let mut rows = 0_usize;
        for (source, often) in all {
            rows += 1;
            if let Source::Workload(name) = source {
                let (count, rows) = used.entry(name).or_default();
                *count = count.saturating_add(often);
                *rows += 1;
            }
        }
        let unused = self.own.iter().filter(|name| !used.contains_key(name));
        let left = self.others.iter().filter(|name| !live.contains(*name));
        let mut seats: Vec<Seat> = unused.chain(left).cloned().map(Seat::Gone).collect();
        self.own.retain(|name| used.contains_key(name));
        self.others.retain(|name| live.contains(name));
        let known = |name: &Label| self.own.contains(name) || self.others.contains(name);
        let mut new: Vec<(u64, Label)> = used
            .iter()
            .filter(|(name, _)| !known(name))
            .map(|(name, (count, _))| (*count, (*name).clone()))
            .collect();
        new.sort_unstable_by(|a, b| b.cmp(a));
        // There may be fewer than for the agent before.
        while self.own.len() > self.most
            && let Some(least) = self.least(&used, live)
        {
            seats.push(Seat::Fold(least));
        }
        for (_, name) in new {
            if self.own.len() >= self.most {
                if !live.contains(&name) {
                    seats.push(Seat::Fold(name));
                    continue;
                }
                let Some(least) = self.least(&used, live) else {
                    seats.push(Seat::Others(name.clone()));
                    self.others.insert(name);
                    continue;
                };
                seats.push(Seat::Fold(least));
            }
            seats.push(Seat::Own(name.clone()));
            self.own.insert(name);
        }
        while rows > self.rows
            && let Some(least) = self.least(&used, live)
        {
            rows = rows.saturating_sub(used.get(&least).map_or(0, |(_, rows)| *rows));
            seats.push(Seat::Fold(least));
        }
        seats
    }

    /// Takes out who was used least of those that have gone.
    fn least(&mut self, used: &Used<'_>, live: &BTreeSet<Label>) -> Option<Label> {
        let gone = self.own.iter().filter(|name| !live.contains(*name));
        let least = gone.min_by_key(|name| used.get(name)).cloned()?;
        self.own.remove(&least);
        Some(least)
    }

    /// Counts those together that have no rows of their own.
    pub fn put_together<C: Count>(
        &self,
        rows: &mut BTreeMap<(Source, Account), C>,
        seats: &[Seat],
    ) {
        let folded = |seat: &Seat| match seat {
            Seat::Fold(name) => Some(name.clone()),
            Seat::Own(_) | Seat::Others(_) | Seat::Gone(_) => None,
        };
        let folded: BTreeSet<Label> = seats.iter().filter_map(folded).collect();
        if folded.is_empty() && self.others.is_empty() {
            return;
        }
        let goes = |source: &Source| match source {
            Source::Workload(name) => self.others.contains(name) || folded.contains(name),
            Source::Other | Source::Unknown => false,
        };
        let keys: Vec<_> = rows.keys().filter(|(source, _)| goes(source)).cloned().collect();
        for key in keys {
            if let Some(counters) = rows.remove(&key) {
                let sum = rows.entry((Source::Other, key.1)).or_default();
                *sum = sum.and(&counters);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::edge::EdgeCounters;

    use super::*;
    use crate::edges::refusals::Refusals;
    use crate::edges::{Edges, uses};
    use crate::testing::{label, name};

    /// Workloads with a number of rows each, used once in each of them.
    fn edges(of: &[(&str, u32)]) -> Edges {
        let row = |client: &str, at: u32| {
            let version = Some(label(&format!("v{at}")));
            let account = Account { version, ..Account::of_service(name("web")) };
            let once = EdgeCounters { opened: 1, ..EdgeCounters::ZERO };
            ((Source::Workload(label(client)), account), once)
        };
        of.iter().flat_map(|(client, rows)| (0..*rows).map(|at| row(client, at))).collect()
    }

    fn admit(roster: &mut Roster, edges: &Edges, live: &BTreeSet<Label>) -> Vec<Seat> {
        roster.admit(uses(edges, &Refusals::new()), live)
    }

    #[test]
    fn who_has_gone_makes_room_where_there_are_too_many_rows() {
        let mut roster = Roster { rows: 10, ..Roster::new(5) };
        let all = edges(&[("here", 6), ("seldom", 1), ("often", 3), ("most", 4)]);
        let live = BTreeSet::from([label("here")]);
        let folded = |seats: &[Seat]| {
            let folded = |seat: &Seat| match seat {
                Seat::Fold(name) => Some(name.to_string()),
                Seat::Own(_) | Seat::Others(_) | Seat::Gone(_) => None,
            };
            seats.iter().filter_map(folded).collect::<Vec<_>>()
        };
        // Those that have gone before anybody asked; then those that had rows.
        assert_eq!(folded(&admit(&mut roster, &all, &live)), ["seldom", "often"]);
        assert_eq!(roster.size(), (2, 0));
        // Who exists keeps all of its rows.
        let more = edges(&[("here", 20), ("most", 4)]);
        assert_eq!(folded(&admit(&mut roster, &more, &live)), ["most"]);
        assert_eq!(folded(&admit(&mut roster, &edges(&[("here", 20)]), &live)), [""; 0]);
    }

    #[test]
    fn fewer_than_before_make_room_as_they_go() {
        let (mut roster, own) = (Roster::new(1), ["a", "b", "c"].map(label).into());
        roster.take_over((&own, &BTreeSet::new()));
        let all = edges(&[("a", 3), ("b", 2), ("c", 1)]);
        assert_eq!(admit(&mut roster, &all, &own), []);
        let live = BTreeSet::from([label("c")]);
        let seats = [Seat::Fold(label("b")), Seat::Fold(label("a"))];
        assert_eq!(admit(&mut roster, &all, &live), seats);
    }
}
