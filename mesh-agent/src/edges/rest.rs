//! What backends have counted and no edge has. Pure.
//!
//! A program counts a connection for the backend and, right after that, for the edge; the agent reads
//! both while they go on. Edges read between two readings of the backends say that the rest is at
//! least what the first reading has beyond them, and at most what the second has. Within these
//! bounds it stays as it was, so that it does not fall when a connection that is being counted gets
//! its edge; where nothing is counted meanwhile they are equal, and the rest is exact.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::counter::BackendCounters;
use mesh_common::edge::EdgeCounters;

use super::{Edges, Row, Rows, Source, whole};
use crate::ledger::{Account, Count as _, Totals};

/// Signed, by account and field.
type Bound = BTreeMap<Account, Vec<i64>>;

/// The rest of each account, as it was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    told: BTreeMap<Account, Vec<i64>>,
}

impl Rest {
    /// All rows, given the accounts' totals before and after the edges were read.
    pub fn rows(&mut self, before: &Totals, edges: &Edges, after: &Totals) -> Rows {
        let (least, most) = (beyond(before, edges), beyond(after, edges));
        let mut rows = Rows::new();
        for ((source, account), counters) in edges {
            if *counters != EdgeCounters::default() {
                let row = rows.entry((source.clone(), account.clone())).or_default();
                row.add(&Row::of_edge(counters));
            }
        }
        let named: BTreeSet<Account> = rows.keys().map(|(_, account)| account.clone()).collect();
        let mut told = BTreeMap::new();
        for (account, most) in most {
            let least = least.get(&account).map_or(&[][..], Vec::as_slice);
            let before = self.told.get(&account).map_or(&[][..], Vec::as_slice);
            let at = |of: &[i64], at: usize| of.get(at).copied().unwrap_or(0);
            let rest = (0..).zip(&most).map(|(index, most)| {
                // In this order: what is too much has been told by mistake.
                at(before, index).max(at(least, index)).min(*most).max(0)
            });
            let rest: Vec<i64> = rest.collect();
            let numbers: Vec<u64> = rest.iter().map(|number| number.cast_unsigned()).collect();
            let counters = BackendCounters::from_numbers(&numbers).unwrap_or_default();
            // An account that nothing was counted of has a row as well.
            if counters != BackendCounters::default() || !named.contains(&account) {
                let row = rows.entry((Source::Unknown, account.clone())).or_default();
                row.add(&Row::of_rest(counters));
            }
            told.insert(account, rest);
        }
        self.told = told;
        rows
    }
}

/// What the totals have beyond the edges. Where an endpoint was given another version while it was
/// used, one account may have got some connections of the other: what one lacks is taken from what
/// others of the same service have, so that the sum is right.
fn beyond(totals: &Totals, edges: &Edges) -> Bound {
    let mut parts: BTreeMap<&Account, BackendCounters> = BTreeMap::new();
    for ((_, account), counters) in edges {
        let sum = parts.entry(account).or_default();
        *sum = sum.plus(whole(counters));
    }
    let mut bound = Bound::new();
    let none = BackendCounters::default();
    for account in totals.keys().chain(parts.keys().copied()) {
        let total = totals.get(account).copied().unwrap_or_default();
        let total = BackendCounters { attempts: 0, ..total };
        let rest = total.beyond(parts.get(account).unwrap_or(&none)).numbers();
        bound.insert(account.clone(), rest.into_iter().map(u64::cast_signed).collect());
    }
    let fields = none.numbers().len();
    let mut groups: BTreeMap<_, Vec<&mut Vec<i64>>> = BTreeMap::new();
    for (account, rest) in &mut bound {
        groups.entry((account.service.clone(), account.udp)).or_default().push(rest);
    }
    for group in groups.values_mut().filter(|group| group.len() > 1) {
        (0..fields).for_each(|field| even_out(group, field));
    }
    bound
}

/// Takes what some lack from what others have.
fn even_out(group: &mut [&mut Vec<i64>], field: usize) {
    let mut lacking: i64 = 0;
    for rest in group.iter_mut().filter_map(|rest| rest.get_mut(field)) {
        lacking = lacking.saturating_sub((*rest).min(0));
        *rest = (*rest).max(0);
    }
    for rest in group.iter_mut().filter_map(|rest| rest.get_mut(field)) {
        let taken = lacking.min(*rest);
        *rest -= taken;
        lacking -= taken;
    }
}
