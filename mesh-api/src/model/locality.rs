//! How far an endpoint is from a node: docs/traffic.md has the levels.

use super::{Endpoint, Label, LocalityScope};

/// Where a node is. What is unknown is near to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeLocality {
    /// Its name, as endpoints spell it.
    pub node: Option<Label>,
    /// Its region.
    pub region: Option<Label>,
    /// Its zone.
    pub zone: Option<Label>,
}

/// How far an endpoint is from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// On it.
    Node,
    /// In its zone, and region.
    Zone,
    /// In its region.
    Region,
    /// Elsewhere, or nobody knows where.
    Far,
}

impl Level {
    /// How far an endpoint is from here.
    #[must_use]
    pub fn of(here: &NodeLocality, endpoint: &Endpoint) -> Self {
        let same = |one: &Option<Label>, other: &Option<Label>| one.is_some() && one == other;
        let there = &endpoint.locality;
        if same(&here.node, &endpoint.node) {
            Self::Node
        } else if same(&here.zone, &there.zone) && here.region == there.region {
            Self::Zone
        } else if same(&here.region, &there.region) {
            Self::Region
        } else {
            Self::Far
        }
    }

    /// The level, where the scope is the finest that is told apart.
    #[must_use]
    pub fn within(self, scope: LocalityScope) -> Self {
        self.max(Self::nearest(scope))
    }

    /// The level that everything within the scope has.
    #[must_use]
    pub const fn nearest(scope: LocalityScope) -> Self {
        match scope {
            LocalityScope::Node => Self::Node,
            LocalityScope::Zone => Self::Zone,
            LocalityScope::Region => Self::Region,
        }
    }
}
