//! Which share of the connections each traffic rule really gets: a rule without an endpoint that
//! can take connections leaves its share to the others, as the agents do. An address leads to
//! endpoints of its own family only, so the shares of IPv4 and IPv6 can differ.

use std::fmt;
use std::net::IpAddr;

use mesh_api::wire;

use super::world::{Part, World};
use crate::output::objects::percent;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: &str) -> Option<Self> {
        match address.parse().ok()? {
            IpAddr::V4(_) => Some(Self::V4),
            IpAddr::V6(_) => Some(Self::V6),
        }
    }

    /// The families of some addresses, IPv4 first.
    pub(super) fn of_all(addresses: &[String]) -> Vec<Self> {
        let has = |family: &Self| addresses.iter().any(|it| Self::of(it) == Some(*family));
        [Self::V4, Self::V6].into_iter().filter(has).collect()
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The rules of a config for connections to addresses of one family.
pub(super) struct Shares {
    /// Weight and number of endpoints that can take it, rule by rule.
    rules: Vec<(u64, usize)>,
    /// Of the weights that are taken.
    sum: u64,
}

impl Shares {
    pub(super) fn new(world: &World<'_>, family: Family) -> Self {
        let serving = |index| {
            let mut parts = world.parts.iter().filter(|part| part.family == family);
            parts.find(|part| part.rule == Some(index)).map_or(0, Part::taking)
        };
        let rules = world.rules.iter().enumerate();
        let rules: Vec<_> =
            rules.map(|(index, rule)| (u64::from(rule.weight), serving(index))).collect();
        let taken = rules.iter().filter(|(_, serving)| *serving > 0);
        Self { sum: taken.map(|(weight, _)| weight).sum(), rules }
    }

    /// The share of a rule, and how many endpoints take it.
    pub(super) fn of(&self, rule: usize) -> (String, usize) {
        let (weight, serving) = self.rules.get(rule).copied().unwrap_or_default();
        (percent(if serving == 0 { 0 } else { weight }, self.sum), serving)
    }
}

/// Whether a rule of a service leads to endpoints of this service and version.
pub(super) fn leads_to(service: &str, rule: &wire::TrafficRule, to: &str, version: &str) -> bool {
    let none = wire::Destination::default();
    let destination = rule.destination.as_ref().unwrap_or(&none);
    let wanted = match destination.service.as_str() {
        "" => service,
        other => other,
    };
    to == wanted && (destination.version.is_empty() || version == destination.version)
}
