//! What backends have counted and no edge has. Pure.
//!
//! A program counts a connection for the backend and, right after that, for the edge; the agent reads
//! both while they go on. Edges read between two readings of the backends say that the rest is at
//! least what the first reading has beyond them, and at most what the second has. Within these
//! bounds it stays as it was, so that it does not fall when a connection that is being counted gets
//! its edge; where nothing is counted meanwhile they are equal, and the rest is exact.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::size_of;

use mesh_common::counter::BackendCounters;
use mesh_common::edge::EdgeCounters;

use super::{Edges, Row, Rows, Source, whole};
use crate::ledger::{Account, Count as _, Totals};

/// What backends count.
const FIELDS: usize = size_of::<BackendCounters>() / size_of::<u64>();

/// What was counted, by field; signed, for differences.
type Numbers = [i64; FIELDS];

/// By account, in order. Most accounts of a large world have never counted anything.
type Bound<'a> = Vec<(&'a Account, Numbers)>;

/// The rest of each account that has any, as it was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    told: BTreeMap<Account, Numbers>,
}

impl Rest {
    /// As an earlier agent told it.
    #[must_use]
    pub fn kept(kept: &BTreeMap<Account, Vec<u64>>) -> Self {
        let told = kept.iter().map(|(account, told)| (account.clone(), numbers(told)));
        Self { told: told.collect() }
    }

    /// What the next agent needs to know and `kept` does not say: of accounts that are counted by
    /// client, for only of these the rest can become less when one that was counted gets its edge.
    #[must_use]
    pub fn news(
        &self,
        kept: &BTreeMap<Account, Vec<u64>>,
        edges: &Edges,
    ) -> Vec<(Account, Vec<u64>)> {
        let named: BTreeSet<&Account> = edges.keys().map(|(_, account)| account).collect();
        let mut news = Vec::new();
        for account in named {
            let told = self.told.get(account).copied().unwrap_or_default();
            if told != kept.get(account).map(|kept| numbers(kept)).unwrap_or_default() {
                news.push((account.clone(), unsigned(&told)));
            }
        }
        news
    }

    /// All rows, given the accounts' totals before and after the edges were read.
    pub fn rows(&mut self, before: &Totals, edges: &Edges, after: &Totals) -> Rows {
        let parts = parts(edges);
        let most = beyond(after, &parts);
        // Where nothing was counted meanwhile, one reading is both.
        let is_same = std::ptr::eq(before, after);
        let least = if is_same { most.clone() } else { beyond(before, &parts) };
        let mut least = InOrder::over(least.iter().map(|(account, least)| (*account, least)));
        let mut before = InOrder::over(self.told.iter());
        let (mut told, mut unknown) = (Vec::new(), Vec::new());
        for (account, most) in &most {
            let (least, before) = (least.at(account), before.at(account));
            let mut rest = Numbers::default();
            let bounds = rest.iter_mut().zip(most).zip(least).zip(before);
            for (((rest, most), least), before) in bounds {
                // In this order: what is too much has been told by mistake.
                *rest = before.max(least).min(*most).max(0);
            }
            let part = parts.get(account);
            let of_edge = part.and_then(|part| part.unknown);
            let is_named = part.is_some_and(|part| part.has_counted);
            // An account that nothing was counted of has a row as well.
            if rest != Numbers::default() || of_edge.is_some() || !is_named {
                let rest = BackendCounters::from_numbers(&unsigned(&rest)).unwrap_or_default();
                let mut row = Row::of_rest(rest);
                if let Some(counters) = of_edge {
                    row.add(&Row::of_edge(account, counters));
                }
                unknown.push(((Source::Unknown, (*account).clone()), row));
            }
            if rest != Numbers::default() {
                told.push(((*account).clone(), rest));
            }
        }
        self.told = told.into_iter().collect();
        let known = |((source, _), counters): &(&(Source, Account), &EdgeCounters)| {
            *source != Source::Unknown && **counters != EdgeCounters::ZERO
        };
        let rows = edges.iter().filter(known);
        let rows = rows.map(|(key, counters)| (key.clone(), Row::of_edge(&key.1, counters)));
        // What is in order becomes a map at once.
        let mut rows: Rows = rows.collect();
        rows.append(&mut unknown.into_iter().collect());
        rows
    }
}

/// What is counted of an account by client.
#[derive(Default)]
struct Part<'a> {
    sum: BackendCounters,
    /// Of clients that nobody knows, unless that is nothing.
    unknown: Option<&'a EdgeCounters>,
    has_counted: bool,
}

fn parts(edges: &Edges) -> HashMap<&Account, Part<'_>> {
    let mut parts: HashMap<&Account, Part<'_>> = HashMap::new();
    for ((source, account), counters) in edges {
        let part = parts.entry(account).or_default();
        if *counters != EdgeCounters::ZERO {
            part.sum = part.sum.plus(whole(counters));
            part.has_counted = true;
            part.unknown = part.unknown.or((*source == Source::Unknown).then_some(counters));
        }
    }
    parts
}

/// What the totals have beyond the edges. Where an endpoint was given another version while it was
/// used, one account may have got some connections of the other: what one lacks is taken from what
/// others of the same service have, so that the sum is right.
fn beyond<'a>(totals: &'a Totals, parts: &HashMap<&'a Account, Part<'_>>) -> Bound<'a> {
    let none = BackendCounters::default();
    let of = |account: &Account, total: BackendCounters| {
        let total = BackendCounters { attempts: 0, ..total };
        match parts.get(account) {
            Some(part) => numbers(&total.beyond(&part.sum).numbers()),
            None if total == none => Numbers::default(),
            None => numbers(&total.numbers()),
        }
    };
    let mut bound: Bound<'_> =
        totals.iter().map(|(account, total)| (account, of(account, *total))).collect();
    let before = bound.len();
    let more = parts.keys().filter(|account| !totals.contains_key(**account));
    bound.extend(more.map(|account| (*account, of(account, none))));
    if bound.len() > before {
        bound.sort_unstable_by_key(|(account, _)| *account);
    }
    if bound.iter().any(|(_, rest)| rest.iter().any(|rest| *rest < 0)) {
        let same = |a: &Account, b: &Account| a.service == b.service && a.udp == b.udp;
        for group in bound.chunk_by_mut(|(a, _), (b, _)| same(a, b)) {
            (0..FIELDS).for_each(|field| even_out(group, field));
        }
    }
    bound
}

/// Takes what some lack from what others have.
fn even_out(group: &mut [(&Account, Numbers)], field: usize) {
    let mut lacking: i64 = 0;
    for rest in group.iter_mut().filter_map(|(_, rest)| rest.get_mut(field)) {
        lacking = lacking.saturating_sub((*rest).min(0));
        *rest = (*rest).max(0);
    }
    for rest in group.iter_mut().filter_map(|(_, rest)| rest.get_mut(field)) {
        let taken = lacking.min(*rest);
        *rest -= taken;
        lacking -= taken;
    }
}

/// Numbers by account, for whoever asks for one account after the other in order.
struct InOrder<'a, I> {
    ahead: I,
    next: Option<(&'a Account, &'a Numbers)>,
}

impl<'a, I: Iterator<Item = (&'a Account, &'a Numbers)>> InOrder<'a, I> {
    fn over(mut ahead: I) -> Self {
        let next = ahead.next();
        Self { ahead, next }
    }

    /// What there is of an account; otherwise zeros.
    fn at(&mut self, account: &Account) -> Numbers {
        while let Some((next, numbers)) = self.next {
            let order = next.cmp(account);
            if order == Ordering::Greater {
                break;
            }
            self.next = self.ahead.next();
            if order == Ordering::Equal {
                return *numbers;
            }
        }
        Numbers::default()
    }
}

fn numbers(of: &[u64]) -> Numbers {
    let mut numbers = Numbers::default();
    for (number, of) in numbers.iter_mut().zip(of) {
        *number = of.cast_signed();
    }
    numbers
}

fn unsigned(of: &Numbers) -> Vec<u64> {
    of.iter().map(|number| number.cast_unsigned()).collect()
}
