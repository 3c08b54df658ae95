//! Whether the kernel really runs our programs, and what else it runs at the same hooks.
//!
//! Facts, as `tests/tests/attachment.rs` shows them on the running kernel (`kernel/bpf/cgroup.c`,
//! `compute_effective_progs` and `hierarchy_allows_attach`):
//! - A link allows others beside it, whatever flags they come with: a program that is attached to
//!   the same cgroup runs after ours, in the order of attachment, or is refused where it wants
//!   the hook for itself. One below ours never replaces it, also not one that was attached with
//!   `override`; it runs before ours. One above ours runs after it.
//! - Each sees the address that the one before left. What comes before may hide a service from
//!   us; what comes after may undo our choice.
//! - All run, whatever the others say; the call fails if one of them refuses.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mesh_common::names;
use serde::{Deserialize, Serialize};

use super::attach::{LinkStatus, links};
use super::sys;

/// Most cgroups below ours that are looked into.
const MOST_CGROUPS: usize = 1024;

/// A hook: our program, the kernel's name for where it is attached, and its number
/// (`enum bpf_attach_type` in `include/uapi/linux/bpf.h`).
struct Hook {
    program: &'static str,
    name: &'static str,
    attach_type: u32,
}

const fn hook(program: &'static str, name: &'static str, attach_type: u32) -> Hook {
    Hook { program, name, attach_type }
}

static HOOKS: [Hook; names::PROGRAMS.len()] = [
    hook(names::SOCK_RELEASE, "sock_release", 34),
    hook(names::SOCKOPS, "sock_ops", 3),
    hook(names::GETPEERNAME4, "getpeername4", 29),
    hook(names::GETPEERNAME6, "getpeername6", 30),
    hook(names::RECVMSG4, "recvmsg4", 19),
    hook(names::RECVMSG6, "recvmsg6", 20),
    hook(names::SENDMSG4, "sendmsg4", 14),
    hook(names::SENDMSG6, "sendmsg6", 15),
    hook(names::CONNECT4, "connect4", 10),
    hook(names::CONNECT6, "connect6", 11),
];

fn hook_of(program: &str) -> Option<&'static Hook> {
    HOOKS.iter().find(|hook| hook.program == program)
}

/// One of our programs, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// The pinned link.
    #[serde(flatten)]
    pub link: LinkStatus,
    /// Whether the kernel runs it for the processes of the cgroup.
    pub effective: bool,
    /// How often it ran; the kernel counts only while `kernel.bpf_stats_enabled` is 1.
    pub runs: u64,
}

/// When a program runs, seen from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// It may hide a service from us.
    Before,
    /// It may undo what we chose.
    After,
    /// Ours does not run there at all.
    Instead,
}

/// A program that is not ours at one of our hooks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Foreign {
    /// Name of the hook, as `bpftool` spells it.
    pub hook: String,
    /// Kernel's id of the program.
    pub id: u32,
    /// Its name, cut to 15 bytes; empty where the kernel does not tell.
    pub name: String,
    /// Its place in the order, seen from ours.
    pub position: Position,
    /// A cgroup whose processes it meets: ours, or the first found below it.
    pub cgroup: PathBuf,
}

/// What the kernel runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Our programs, in the order of [`names::PROGRAMS`].
    pub hooks: Vec<HookStatus>,
    /// The others.
    pub foreign: Vec<Foreign>,
}

/// Looks at our links and at the cgroup they should be attached to. Some thirty system calls.
#[must_use]
pub fn survey(cgroup: &Path, pin_path: &Path) -> Survey {
    let directory = File::open(cgroup).ok();
    let id = directory.as_ref().and_then(|it| it.metadata().ok()).map_or(0, |meta| meta.ino());
    let mut survey = Survey::default();
    for link in links(pin_path) {
        let Some(hook) = hook_of(&link.program) else { continue };
        let attached = link.attached && link.cgroup_id == id;
        let order = match &directory {
            Some(directory) => sys::query(directory.as_fd(), hook.attach_type, true),
            None => Ok(Vec::new()),
        };
        let order = order.unwrap_or_default();
        let effective = attached && order.contains(&link.program_id);
        let ours = effective.then_some(link.program_id);
        survey.foreign.extend(foreign(hook, &order, ours, cgroup));
        let runs = sys::program_info(link.program_id).map_or(0, |info| info.runs);
        let link = LinkStatus { attached, ..link };
        survey.hooks.push(HookStatus { link, effective, runs });
    }
    survey
}

/// The programs of an order that are not ours.
fn foreign<'a>(
    hook: &'a Hook,
    order: &'a [u32],
    ours: Option<u32>,
    cgroup: &'a Path,
) -> impl Iterator<Item = Foreign> + 'a {
    let at = ours.and_then(|ours| order.iter().position(|id| *id == ours));
    order.iter().enumerate().filter(move |(_, id)| Some(**id) != ours).map(move |(place, id)| {
        let position = match at {
            Some(at) if place < at => Position::Before,
            Some(_) => Position::After,
            None => Position::Instead,
        };
        Foreign {
            hook: hook.name.to_owned(),
            id: *id,
            name: sys::program_info(*id).map_or_else(|_| String::new(), |info| info.name),
            position,
            cgroup: cgroup.to_owned(),
        }
    })
}

/// Looks at the cgroups below ours, nearest first, for programs that only their processes meet;
/// `known` is what [`survey`] found. Ten system calls a cgroup, for [`MOST_CGROUPS`] at most;
/// the second value says whether there were more.
#[must_use]
pub fn below(cgroup: &Path, known: &Survey) -> (Vec<Foreign>, bool) {
    let mut found: Vec<Foreign> = Vec::new();
    let mut waiting = VecDeque::from([cgroup.to_owned()]);
    let mut left = MOST_CGROUPS;
    while let Some(path) = waiting.pop_front() {
        // A cgroup may vanish while we look: it has no processes then.
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let children = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(children.map(|entry| entry.path()));
        if path == cgroup {
            continue;
        }
        if left == 0 {
            return (found, true);
        }
        left -= 1;
        let Ok(directory) = File::open(&path) else { continue };
        for ours in &known.hooks {
            let Some(hook) = hook_of(&ours.link.program) else { continue };
            for foreign in attached_here(hook, ours, directory.as_fd(), &path) {
                let same = |other: &&Foreign| other.hook == foreign.hook && other.id == foreign.id;
                let everywhere = known.foreign.iter().find(same);
                if found.iter().find(same).or(everywhere).is_none() {
                    found.push(foreign);
                }
            }
        }
    }
    (found, false)
}

fn attached_here(
    hook: &Hook,
    ours: &HookStatus,
    directory: BorrowedFd<'_>,
    path: &Path,
) -> Vec<Foreign> {
    let here = sys::query(directory, hook.attach_type, false).unwrap_or_default();
    if here.is_empty() {
        return Vec::new();
    }
    let order = sys::query(directory, hook.attach_type, true).unwrap_or_default();
    let ours = Some(ours.link.program_id).filter(|id| order.contains(id));
    foreign(hook, &order, ours, path).filter(|foreign| here.contains(&foreign.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_hook_of_its_own() {
        let numbers: Vec<u32> =
            names::PROGRAMS.iter().map(|name| hook_of(name).unwrap().attach_type).collect();
        let distinct: std::collections::BTreeSet<&u32> = numbers.iter().collect();
        assert_eq!(distinct.len(), names::PROGRAMS.len());
    }

    #[test]
    fn others_have_their_place_in_the_order() {
        let hook = hook_of(names::CONNECT4).unwrap();
        let places = |ours| -> Vec<(u32, Position)> {
            let found = foreign(hook, &[1, 2, 3], ours, Path::new("/"));
            found.map(|foreign| (foreign.id, foreign.position)).collect()
        };
        assert_eq!(places(Some(2)), [(1, Position::Before), (3, Position::After)]);
        assert!(places(None).iter().all(|(_, position)| *position == Position::Instead));
    }
}
