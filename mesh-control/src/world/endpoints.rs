//! What the endpoints of one service have, counted, so that nobody has to look at all of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::model::{Endpoint, Label, LocalityScope};

/// Counts over the endpoints of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    versions: BTreeMap<Option<Label>, usize>,
    v4: usize,
    v6: usize,
    /// By where they say they are.
    node: usize,
    zone: usize,
    region: usize,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// As people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Endpoints {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4 == 0 && self.v6 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.v4 + self.v6
    }

    /// Their versions; `None` stands for endpoints without one.
    pub fn versions(&self) -> impl Iterator<Item = Option<&Label>> {
        self.versions.keys().map(Option::as_ref)
    }

    /// Whether any has an address of this family.
    #[must_use]
    pub const fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4 > 0,
            Family::V6 => self.v6 > 0,
        }
    }

    /// Whether any says where it is, as finely as the scope asks: a node is also in a zone, a
    /// zone in a region.
    #[must_use]
    pub const fn stated(&self, scope: LocalityScope) -> bool {
        let Self { node, zone, region, .. } = self;
        match scope {
            LocalityScope::Node => *node > 0,
            LocalityScope::Zone => *node > 0 || *zone > 0,
            LocalityScope::Region => *node > 0 || *zone > 0 || *region > 0,
        }
    }

    pub(super) fn add(&mut self, endpoint: &Endpoint) {
        *self.versions.entry(endpoint.version.clone()).or_default() += 1;
        self.count(endpoint, |count| *count += 1);
    }

    pub(super) fn remove(&mut self, endpoint: &Endpoint) {
        match self.versions.get_mut(&endpoint.version) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.versions.remove(&endpoint.version)),
        }
        self.count(endpoint, |count| *count = count.saturating_sub(1));
    }

    fn count(&mut self, endpoint: &Endpoint, change: impl Fn(&mut usize)) {
        match Family::of(endpoint.address) {
            Family::V4 => change(&mut self.v4),
            Family::V6 => change(&mut self.v6),
        }
        if endpoint.node.is_some() {
            change(&mut self.node);
        }
        if endpoint.locality.zone.is_some() {
            change(&mut self.zone);
        }
        if endpoint.locality.region.is_some() {
            change(&mut self.region);
        }
    }
}
