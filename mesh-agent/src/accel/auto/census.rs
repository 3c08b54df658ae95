//! Whether the connections to a service end soon, from what the programs count and what is open at
//! each look. Pure.

use std::collections::BTreeMap;

use mesh_common::backend::BackendIndex;

/// One connection that ended soon of so many that are open speaks against; a single one never does.
const SHORT_PART: usize = 10;

/// A backend and its generation: an index that another backend gets is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// Where it is.
    pub index: BackendIndex,
    /// Which of those that were there.
    pub generation: u32,
}

/// An open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Where it goes.
    pub backend: Incarnation,
    /// Whether it is not long-lived yet.
    pub young: bool,
}

/// What is remembered of a backend.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// How many connections were opened until the last look, by the programs' counter. It goes on
    /// where the index's earlier holder left it, so only differences mean anything.
    opened: u64,
    /// Connections that were seen before they were counted.
    ahead: u64,
}

/// Counts the connections to a service that end soon.
#[derive(Debug, Default)]
pub struct Census {
    counts: BTreeMap<Incarnation, Count>,
    /// Those that were open at the last look, by cookie.
    open: BTreeMap<u64, Open>,
}

impl Census {
    /// Whether too many have ended soon since the last look: `opened` are the counters of the
    /// service's backends, `open` are the connections that are, by cookie. What was opened before a
    /// backend is seen for the first time does not count, nor what was open to one that has gone.
    pub fn look(&mut self, opened: &BTreeMap<Incarnation, u64>, open: BTreeMap<u64, Open>) -> bool {
        let mut new: BTreeMap<Incarnation, u64> = BTreeMap::new();
        for (_, it) in open.iter().filter(|(cookie, _)| !self.open.contains_key(cookie)) {
            *new.entry(it.backend).or_default() += 1;
        }
        let young = self.open.iter().filter(|(_, it)| it.young && opened.contains_key(&it.backend));
        let ended = young.filter(|(cookie, _)| !open.contains_key(cookie)).count();
        let mut short = u64::try_from(ended).unwrap_or(u64::MAX);
        let before = std::mem::take(&mut self.counts);
        for (backend, opened) in opened {
            let mut count = Count { opened: *opened, ahead: 0 };
            if let Some(before) = before.get(backend) {
                let since = opened.saturating_sub(before.opened);
                let seen = new.get(backend).copied().unwrap_or(0) + before.ahead;
                // What came and went between two looks, or was counted only now.
                short = short.saturating_add(since.saturating_sub(seen));
                count.ahead = seen.saturating_sub(since);
            }
            self.counts.insert(*backend, count);
        }
        let allowed = u64::try_from(open.len() / SHORT_PART).unwrap_or(0).max(1);
        self.open = open;
        short > allowed
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    const ONE: Incarnation = Incarnation { index: BackendIndex { index: 1 }, generation: 3 };
    const TWO: Incarnation = Incarnation { index: BackendIndex { index: 2 }, generation: 8 };

    fn to(backend: Incarnation, cookies: Range<u64>, young: bool) -> BTreeMap<u64, Open> {
        cookies.map(|cookie| (cookie, Open { backend, young })).collect()
    }

    fn old(cookies: Range<u64>) -> BTreeMap<u64, Open> {
        to(ONE, cookies, false)
    }

    #[test]
    fn connections_that_end_soon_are_counted() {
        let mut census = Census::default();
        let mut look = |opened, open| census.look(&[(ONE, opened)].into(), open);
        // Before the first look nothing is known.
        assert!(!look(1000, old(1..21)));
        assert!(!look(1000, old(1..21)));
        // Two of twenty may come and go, three not.
        assert!(!look(1002, old(1..21)));
        assert!(look(1005, old(1..21)));
        // New ones, one of them seen before it is counted.
        assert!(!look(1009, to(ONE, 1..26, true)));
        assert!(!look(1010, to(ONE, 1..26, true)));
        // They end young.
        assert!(look(1010, to(ONE, 1..20, true)));
        assert!(!look(1010, to(ONE, 1..20, true)));
    }

    #[test]
    fn backends_that_come_bring_no_connections_along_and_those_that_go_hide_none() {
        let mut census = Census::default();
        assert!(!census.look(&[(ONE, 1000)].into(), old(1..21)));
        // The index has had others, with many connections.
        assert!(!census.look(&[(ONE, 1000), (TWO, 5000)].into(), old(1..21)));
        assert!(census.look(&[(ONE, 1000), (TWO, 5003)].into(), old(1..21)));
        // Three come and go while the other backend goes, with its counter.
        assert!(census.look(&[(ONE, 1003)].into(), old(1..21)));
        // The same index for another one, and back: first sight each time.
        let reused = Incarnation { generation: 9, ..TWO };
        assert!(!census.look(&[(ONE, 1003), (reused, 7000)].into(), old(1..21)));
        assert!(!census.look(&[(ONE, 1003), (TWO, 9000)].into(), old(1..21)));
    }

    #[test]
    fn what_was_open_to_a_backend_that_has_gone_did_not_end_soon() {
        let mut census = Census::default();
        let both = [(ONE, 10), (TWO, 10)].into();
        let mut open = old(1..11);
        open.extend(to(TWO, 11..21, true));
        assert!(!census.look(&both, open.clone()));
        assert!(!census.look(&[(ONE, 10)].into(), old(1..11)));
        // Nor do those that a new backend has already when it is first seen cover for later ones.
        assert!(!census.look(&both, open.clone()));
        assert!(census.look(&[(ONE, 10), (TWO, 13)].into(), open));
    }

    proptest! {
        /// However often backends come, go and follow each other at an index, and whatever their
        /// counters begin with: nobody is accused whose connections all stay.
        #[test]
        fn who_stays_is_never_accused(
            looks in prop::collection::vec(
                prop::collection::btree_map(0..4u32, (any::<bool>(), any::<u32>()), 0..4), 1..30),
        ) {
            let mut census = Census::default();
            let mut holders = [(0u32, 0u64); 4];
            for look in looks {
                let mut opened = BTreeMap::new();
                for (index, (another, earlier)) in look {
                    let (generation, counter) = &mut holders[index as usize];
                    if another {
                        *generation += 1;
                        *counter += u64::from(earlier);
                    }
                    let index = BackendIndex { index };
                    opened.insert(Incarnation { index, generation: *generation }, *counter);
                }
                prop_assert!(!census.look(&opened, BTreeMap::new()));
            }
        }
    }
}
