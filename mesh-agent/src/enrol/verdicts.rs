//! What the kernel's maps `cgroups` and `namespaces` should hold. Pure.
//!
//! Every known cgroup gets an entry, so that the kernel's first lookup succeeds. Only entries at
//! which the verdict changes against the parent are needed for the right answer; they come first
//! where the map is too small for all, shallow ones before deep ones, and the others are spared:
//! the kernel then asks the parents (`mesh_common::enrol::MAX_DEPTH` of them).

use std::collections::BTreeMap;

use super::Verdict;
use super::rules::{Rules, Why};
use super::tree::{Tree, depth, parent};

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// `SO_NETNS_COOKIE`.
    pub cookie: u64,
    /// What it may be called, the first to be shown: file names of its bind mounts, and
    /// `net:[INODE]`.
    pub names: Vec<String>,
}

/// Which maps the programs ask, and what holds for a key that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// `None`: cgroups are not asked for.
    pub cgroups: Option<Verdict>,
    /// `None`: namespaces are not asked for.
    pub namespaces: Option<Verdict>,
}

/// Sizes of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// `--max-cgroups`.
    pub cgroups: usize,
    /// `--max-namespaces`.
    pub namespaces: usize,
}

/// What the maps hold, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// By cgroup id.
    pub cgroups: BTreeMap<u64, Verdict>,
    /// By cookie.
    pub namespaces: BTreeMap<u64, Verdict>,
    /// What is asked.
    pub filters: Filters,
}

/// What the maps should hold, and what is needed to get there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// What the maps should hold.
    pub held: Held,
    /// How deep each cgroup is that exists, by id; the order of steps follows from it. Empty
    /// where cgroups are not asked for.
    pub depths: BTreeMap<u64, usize>,
    /// What a person should know: what does not fit, naming the flag.
    pub warnings: Vec<String>,
}

/// Computes them.
#[must_use]
pub fn verdicts(rules: &Rules, tree: &Tree, namespaces: &[Namespace], room: Room) -> Verdicts {
    let mut verdicts = Verdicts::default();
    if rules.filter_cgroups() {
        verdicts.depths = tree.cgroups().map(|(path, cgroup)| (cgroup.id, depth(path))).collect();
        verdicts.held.filters.cgroups = Some(rules.unknown_cgroup().verdict());
        fill_cgroups(&mut verdicts, tree, room.cgroups);
    }
    if rules.filter_namespaces() {
        let default = rules.unknown_namespace().verdict();
        verdicts.held.filters.namespaces = Some(default);
        fill_namespaces(&mut verdicts, rules, namespaces, default, room.namespaces);
    }
    verdicts
}

fn fill_cgroups(verdicts: &mut Verdicts, tree: &Tree, room: usize) {
    let mut needed = Vec::new();
    let mut spare = Vec::new();
    for (path, cgroup) in tree.cgroups() {
        let above = parent(path).and_then(|parent| tree.get(parent));
        let verdict = cgroup.why.verdict();
        let differs = above.is_none_or(|above| above.why.verdict() != verdict);
        let list = if differs { &mut needed } else { &mut spare };
        list.push((depth(path), cgroup.id, verdict));
    }
    for list in [&mut needed, &mut spare] {
        // Stable: by path where equally deep.
        list.sort_by_key(|(depth, _, _)| *depth);
    }
    if let Some(missing) = needed.len().checked_sub(room).filter(|missing| *missing > 0) {
        verdicts.warnings.push(format!(
            "{missing} cgroups with a verdict of their own do not fit into the map of {room} and \
             are treated like their parents: raise --max-cgroups"
        ));
    } else if needed.len() + spare.len() > room {
        verdicts.warnings.push(format!(
            "{} cgroups are more than the map of {room} holds: connects from some take longer; \
             raise --max-cgroups",
            tree.len()
        ));
    }
    let entries = needed.into_iter().chain(spare).take(room);
    verdicts.held.cgroups = entries.map(|(_, id, verdict)| (id, verdict)).collect();
}

fn fill_namespaces(
    verdicts: &mut Verdicts,
    rules: &Rules,
    namespaces: &[Namespace],
    default: Verdict,
    room: usize,
) {
    let judged = namespaces.iter().map(|it| (it.cookie, rules.namespace(&it.names).verdict()));
    // An entry is needed only where it differs from the default; the others would only fill the
    // map, for the programs find a default as fast.
    let needed: BTreeMap<u64, Verdict> =
        judged.filter(|(_, verdict)| *verdict != default).collect();
    if needed.len() > room {
        verdicts.warnings.push(format!(
            "{} network namespaces do not fit into the map of {room} and follow the default \
             ({}): raise --max-namespaces",
            needed.len() - room,
            if default.is_in() { "in the mesh" } else { "left alone" }
        ));
    }
    verdicts.held.namespaces = needed.into_iter().take(room).collect();
}

/// A namespace with the decision for it, to be shown.
#[must_use]
pub fn judge(rules: &Rules, namespace: &Namespace) -> (String, Why) {
    let name = namespace.names.first().cloned().unwrap_or_default();
    (name, rules.namespace(&namespace.names))
}
