//! The rules: what the flags say together, for one cgroup and for one namespace.

use std::fmt;
use std::sync::Arc;

use super::Verdict;
use super::glob::{CgroupGlob, NetnsGlob};

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `--include-cgroup`.
    pub include_cgroups: Vec<CgroupGlob>,
    /// `--exclude-cgroup`.
    pub exclude_cgroups: Vec<CgroupGlob>,
    /// `--include-netns`.
    pub include_namespaces: Vec<NetnsGlob>,
    /// `--exclude-netns`.
    pub exclude_namespaces: Vec<NetnsGlob>,
}

/// Why a verdict is what it is: the flag that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No flag speaks of it: the whole node is in.
    Default,
    /// This inclusion covers it.
    Included(Arc<str>),
    /// This exclusion covers it.
    Excluded(Arc<str>),
    /// There are inclusions (of this flag), and none covers it.
    NotIncluded(&'static str),
}

const INCLUDE_CGROUP: &str = "--include-cgroup";
const EXCLUDE_CGROUP: &str = "--exclude-cgroup";
const INCLUDE_NETNS: &str = "--include-netns";
const EXCLUDE_NETNS: &str = "--exclude-netns";

impl Why {
    /// The verdict that follows.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Default | Self::Included(_) => Verdict::In,
            Self::Excluded(_) | Self::NotIncluded(_) => Verdict::Out,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Included(flag) | Self::Excluded(flag) => f.write_str(flag),
            Self::NotIncluded(flag) => write!(f, "no {flag} covers it"),
        }
    }
}

impl Rules {
    /// Whether any flag speaks of cgroups.
    #[must_use]
    pub const fn filter_cgroups(&self) -> bool {
        !(self.include_cgroups.is_empty() && self.exclude_cgroups.is_empty())
    }

    /// Whether any flag speaks of network namespaces.
    #[must_use]
    pub const fn filter_namespaces(&self) -> bool {
        !(self.include_namespaces.is_empty() && self.exclude_namespaces.is_empty())
    }

    /// The decision for a cgroup, from that for its parent.
    #[must_use]
    pub fn cgroup(&self, parent: Option<&Why>, path: &str) -> Why {
        if let Some(Why::Excluded(flag)) = parent {
            return Why::Excluded(Arc::clone(flag));
        }
        if let Some(glob) = self.exclude_cgroups.iter().find(|glob| glob.matches(path)) {
            return Why::Excluded(format!("{EXCLUDE_CGROUP} {glob}").into());
        }
        if let Some(Why::Included(flag)) = parent {
            return Why::Included(Arc::clone(flag));
        }
        if let Some(glob) = self.include_cgroups.iter().find(|glob| glob.matches(path)) {
            return Why::Included(format!("{INCLUDE_CGROUP} {glob}").into());
        }
        unnamed(self.include_cgroups.is_empty(), INCLUDE_CGROUP)
    }

    /// The decision for a cgroup, its ancestors judged first.
    #[must_use]
    pub fn cgroup_at(&self, path: &str) -> Why {
        let mut why = self.cgroup(None, "/");
        if path != "/" {
            let ends = path.match_indices('/').skip(1).map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                why = self.cgroup(Some(&why), path.get(..end).unwrap_or(path));
            }
        }
        why
    }

    /// The decision for a network namespace with these names.
    #[must_use]
    pub fn namespace(&self, names: &[String]) -> Why {
        let covers = |glob: &&NetnsGlob| names.iter().any(|name| glob.matches(name));
        if let Some(glob) = self.exclude_namespaces.iter().find(covers) {
            return Why::Excluded(format!("{EXCLUDE_NETNS} {glob}").into());
        }
        if let Some(glob) = self.include_namespaces.iter().find(covers) {
            return Why::Included(format!("{INCLUDE_NETNS} {glob}").into());
        }
        self.unknown_namespace()
    }

    /// The decision for what is not known (yet), and outside the tree.
    #[must_use]
    pub const fn unknown_cgroup(&self) -> Why {
        unnamed(self.include_cgroups.is_empty(), INCLUDE_CGROUP)
    }

    /// The decision for a namespace that is not known (yet).
    #[must_use]
    pub const fn unknown_namespace(&self) -> Why {
        unnamed(self.include_namespaces.is_empty(), INCLUDE_NETNS)
    }
}

const fn unnamed(all: bool, flag: &'static str) -> Why {
    if all { Why::Default } else { Why::NotIncluded(flag) }
}
