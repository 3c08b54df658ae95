//! The steps from what the maps hold to what they should hold. Pure.
//!
//! Whatever prefix of the steps has been taken, each cgroup and each namespace that exists has
//! the verdict it had, or the one it will have, never a third (`tests` prove it). The order:
//!
//! 1. A filter that is no longer wanted is switched off.
//! 2. Entries of cgroups and namespaces that have ended go.
//! 3. Entries are written, the deepest cgroups first: a parent's new verdict must not reach a
//!    child that is to keep another.
//! 4. Filters are switched on, and defaults changed.
//! 5. Entries that are no longer needed go, parents before their children, for the same reason.
//!
//! Where a filter is off, or the map has no room for old and new entries together, 5 comes
//! before 3; in the second case a cgroup may for a moment have the verdict of its parent.

use std::collections::BTreeMap;

use super::Verdict;
use super::verdicts::{Filters, Held, Room, Verdicts};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write an entry of the map `cgroups`.
    PutCgroup(u64, Verdict),
    /// Remove one.
    DropCgroup(u64),
    /// Write an entry of the map `namespaces`.
    PutNamespace(u64, Verdict),
    /// Remove one.
    DropNamespace(u64),
    /// Set the flags in the map `tunables`, in one write.
    SetFilters(Filters),
}

impl Held {
    /// Takes a step.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::PutCgroup(id, verdict) => drop(self.cgroups.insert(id, verdict)),
            Step::DropCgroup(id) => drop(self.cgroups.remove(&id)),
            Step::PutNamespace(cookie, verdict) => drop(self.namespaces.insert(cookie, verdict)),
            Step::DropNamespace(cookie) => drop(self.namespaces.remove(&cookie)),
            Step::SetFilters(filters) => self.filters = filters,
        }
    }
}

/// The steps, in order.
#[must_use]
pub fn plan(actual: &Held, desired: &Verdicts, room: Room) -> Vec<Step> {
    let Verdicts { held, depths, .. } = desired;
    let mut steps = Vec::new();

    let mut filters = actual.filters;
    filters.cgroups = filters.cgroups.filter(|_| held.filters.cgroups.is_some());
    filters.namespaces = filters.namespaces.filter(|_| held.filters.namespaces.is_some());
    if filters != actual.filters {
        steps.push(Step::SetFilters(filters));
    }

    let (unneeded, ended): (Vec<u64>, Vec<u64>) =
        absent(&actual.cgroups, &held.cgroups).partition(|id| depths.contains_key(id));
    steps.extend(ended.iter().copied().map(Step::DropCgroup));

    let mut written: Vec<(u64, Verdict)> = changed(&actual.cgroups, &held.cgroups).collect();
    written.sort_by_key(|(id, _)| std::cmp::Reverse(depths.get(id).copied().unwrap_or(0)));
    let mut unneeded = unneeded;
    unneeded.sort_by_key(|id| depths.get(id).copied().unwrap_or(0));
    let puts = written.into_iter().map(|(id, verdict)| Step::PutCgroup(id, verdict));
    let drops = unneeded.iter().copied().map(Step::DropCgroup);

    let names = changed(&actual.namespaces, &held.namespaces);
    let name_puts = names.map(|(cookie, verdict)| Step::PutNamespace(cookie, verdict));
    let name_drops = absent(&actual.namespaces, &held.namespaces).map(Step::DropNamespace);
    let switch = (held.filters != filters).then_some(Step::SetFilters(held.filters));

    // What nobody reads needs no order, but must be clean when it is switched on.
    let fits = held.cgroups.len() + unneeded.len() <= room.cgroups;
    let (before, after) = split(filters.cgroups.is_some() && fits, drops);
    let fits = held.namespaces.len() + name_drops.clone().count() <= room.namespaces;
    let (names_before, names_after) = split(filters.namespaces.is_some() && fits, name_drops);
    steps.extend(before.chain(names_before));
    steps.extend(puts.chain(name_puts).chain(switch));
    steps.extend(after.chain(names_after));
    steps
}

/// The steps in the first or in the second place.
fn split(
    late: bool,
    steps: impl Iterator<Item = Step> + Clone,
) -> (impl Iterator<Item = Step>, impl Iterator<Item = Step>) {
    let (before, after) = if late { (0, usize::MAX) } else { (usize::MAX, 0) };
    (steps.clone().take(before), steps.take(after))
}

/// Keys that are no longer wanted.
fn absent<'a>(
    actual: &'a BTreeMap<u64, Verdict>,
    desired: &'a BTreeMap<u64, Verdict>,
) -> impl Iterator<Item = u64> + Clone + 'a {
    actual.keys().copied().filter(|key| !desired.contains_key(key))
}

/// Entries that are new or other.
fn changed<'a>(
    actual: &'a BTreeMap<u64, Verdict>,
    desired: &'a BTreeMap<u64, Verdict>,
) -> impl Iterator<Item = (u64, Verdict)> + 'a {
    let entries = desired.iter().map(|(key, verdict)| (*key, *verdict));
    entries.filter(|(key, verdict)| actual.get(key) != Some(verdict))
}
