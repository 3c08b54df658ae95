//! What services have refused, by who asked and by why: the parts that the kernel has counted, and
//! what services have beyond these, which is nobody's. Pure.
//!
//! As in [`super::rest`], parts read between two readings of the services bound what is nobody's,
//! and within these bounds it stays as it was, so that it does not fall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mesh_common::counter::ServiceCounters;
use mesh_common::refusal::{RefusalCause, RefusalCounters, RefusalKey};

use super::Source;
use crate::image::MapImage;
use crate::ledger::{Account, Count as _};

/// By who was refused and who has refused.
pub type Refusals = BTreeMap<(Source, Account), RefusalCounters>;

/// What services have counted.
pub type Wholes = BTreeMap<Account, ServiceCounters>;

/// Adds to what is there.
pub fn add(refusals: &mut Refusals, source: Source, account: &Account, more: &RefusalCounters) {
    let sum = refusals.entry((source, account.clone())).or_default();
    *sum = sum.and(more);
}

/// What of each account is nobody's, as it was told last; those of which nothing is are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalRest {
    told: BTreeMap<Account, u64>,
}

impl RefusalRest {
    /// As an earlier agent told it.
    #[must_use]
    pub fn kept(kept: &BTreeMap<Account, u64>) -> Self {
        Self { told: kept.clone() }
    }

    /// What the next agent needs to know and `kept` does not say: of accounts that are counted by
    /// client, for only of these it can become less when one that was counted gets its client.
    #[must_use]
    pub fn news(&self, kept: &BTreeMap<Account, u64>, parts: &Refusals) -> Vec<(Account, u64)> {
        let named: BTreeSet<&Account> = parts.keys().map(|(_, account)| account).collect();
        let rest = |of: &BTreeMap<Account, u64>, account| of.get(account).copied().unwrap_or(0);
        let named = named.into_iter().map(|account| (account, rest(&self.told, account)));
        let new = named.filter(|(account, told)| rest(kept, account) != *told);
        new.map(|(account, told)| (account.clone(), told)).collect()
    }

    /// All rows, given what the services had before and after the parts were read.
    pub fn rows(&mut self, before: &Wholes, parts: &Refusals, after: &Wholes) -> Refusals {
        let (least, most) = (beyond(before, parts), beyond(after, parts));
        let mut rows = parts.clone();
        rows.retain(|_, counters| *counters != RefusalCounters::ZERO);
        let mut told = BTreeMap::new();
        for (account, most) in most {
            let before = self.told.get(&account).map_or(0, |rest| rest.cast_signed());
            let least = least.get(&account).copied().unwrap_or(0);
            // In this order: what is too much has been told by mistake.
            let rest = before.max(least).min(most).max(0).cast_unsigned();
            if rest != 0 {
                let counters = RefusalCounters::of(RefusalCause::UNKNOWN, rest);
                add(&mut rows, Source::Unknown, &account, &counters);
                told.insert(account, rest);
            }
        }
        self.told = told;
        rows
    }
}

/// What the services have beyond the parts. Where an index was given to another service while it was
/// used, one may have got some of the other's: what one lacks is taken from others, so that the sum
/// is right.
fn beyond(wholes: &Wholes, parts: &Refusals) -> BTreeMap<Account, i64> {
    let whole = |(account, whole): (&Account, &ServiceCounters)| {
        (account.clone(), whole.refused.cast_signed())
    };
    // Most services never refuse anything.
    let refusing = wholes.iter().filter(|(_, whole)| whole.refused != 0);
    let mut rest: BTreeMap<Account, i64> = refusing.map(whole).collect();
    for ((_, account), counters) in parts {
        let rest = rest.entry(account.clone()).or_default();
        *rest = rest.wrapping_sub(counters.total().cast_signed());
    }
    let mut lacking = rest.values().fold(0_i64, |sum, it| sum.saturating_sub((*it).min(0)));
    for rest in rest.values_mut() {
        *rest = (*rest).max(0);
        let taken = lacking.min(*rest);
        *rest -= taken;
        lacking -= taken;
    }
    rest
}

/// Lines of what the services in the image have refused, sorted, as `mesh-agent dump` prints them.
#[must_use]
pub fn lines(image: &MapImage, mut refusals: Vec<(RefusalKey, RefusalCounters)>) -> String {
    refusals.retain(|(key, _)| image.services.contains_key(&key.service));
    refusals.sort_unstable_by_key(|(key, _)| (key.service, key.cgroup));
    let mut text = String::new();
    // Writing to a string does not fail.
    for (RefusalKey { cgroup, service, .. }, counters) in refusals {
        write!(text, "REFUSAL SERVICE={} CGROUP={cgroup}", service.index).unwrap_or_default();
        for (code, count) in (0..).zip(counters.refused).filter(|(_, count)| *count > 0) {
            let cause = RefusalCause { code }.name().to_uppercase();
            write!(text, " {cause}={count}").unwrap_or_default();
        }
        text.push('\n');
    }
    text
}
