//! Enrolment: which processes of the node are in the mesh.
//!
//! Flags give globs over cgroups and network namespaces (`glob`); `rules` decide; `tree` keeps
//! the cgroups that exist with the decision for each; `verdicts` is what the kernel's maps should
//! hold, `plan` the ordered steps that bring them there, `kernel` the form they have there. These
//! are pure. `scan` reads the cgroup tree, `watch` hears of new cgroups, `namespaces` lists
//! network namespaces, and `agent` runs it all.
//!
//! A connection is the mesh's when both its cgroup and its network namespace are in. The rules:
//! a match covers everything below; an exclusion beats every inclusion; where something is
//! included, what is not is out. Going down the tree the verdict of a cgroup therefore changes
//! twice at most, and the verdict of a cgroup without an entry is that of its nearest ancestor
//! with one: this is what the kernel does for a cgroup too new to be in the map.
//!
//! Until its entry is written (milliseconds), a new cgroup that a glob names *itself* is treated
//! like its parent; one below a match is right from its first connection. Processes of
//! Kata, gVisor and virtual machines connect in kernels of their own: no verdict reaches them.

pub mod agent;
pub mod glob;
mod kernel;
pub mod namespaces;
pub mod plan;
pub mod rules;
pub mod scan;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod verdicts;
pub mod watch;

/// Whether a cgroup or a network namespace is in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// In the mesh.
    In,
    /// Left alone.
    Out,
}

impl Verdict {
    /// Whether it is [`Self::In`].
    #[must_use]
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In)
    }
}
