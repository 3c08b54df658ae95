//! Who gets which share of a kernel service's connections. docs/load-balancing.md has the
//! arithmetic with examples.
//!
//! With traffic rules, the share of an endpoint is
//! `rule weight / sum of rule weights × endpoint weight / sum over the rule's endpoints`;
//! without, it is `endpoint weight / sum over the service's endpoints`. Endpoints that drain,
//! have weight 0, are of another family, or too far away take no new connections. A rule without
//! any endpoint that can take connections leaves its share to the other rules, in proportion, and
//! a warning says so.

use std::sync::Arc;

use mesh_api::model::{Destination, LocalityMode, Port, TrafficRule};
use mesh_common::addr::IpKey;
use mesh_common::logic::round_robin::gcd;

use super::{Family, Origin};
use crate::world::{Group, Level, Member};

/// One backend's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Where connections go.
    pub addr: IpKey,
    /// The port there.
    pub port: u16,
    /// Weight relative to the other shares; never 0.
    pub weight: u64,
    /// The endpoint; of the first rule and the first by name, where several have the same
    /// address and port.
    pub member: Arc<Member>,
}

/// Up to this, sums have a common multiple that leaves room for rule × endpoint weight.
const MAX_MULTIPLE: u64 = 1 << 60;
/// Fraction bits of a weight where there is no such multiple.
const FRACTION_BITS: u32 = 60;
/// Bits of a final weight.
const WEIGHT_BITS: u32 = 62;

/// The endpoints that share a rule's connections.
struct Part<'a> {
    rule: u32,
    sum: u64,
    target: Port,
    members: Vec<&'a Arc<Member>>,
}

/// All shares, by address and port.
pub(super) fn shares(
    origin: &Origin<'_>,
    family: Family,
    warnings: &mut Vec<String>,
) -> Vec<Share> {
    let mut parts = Vec::new();
    let rules = rules(origin);
    if rules.is_empty() {
        parts.extend(part(origin, family, 1, origin.group, None));
    }
    for rule in rules.iter().filter(|rule| rule.weight > 0) {
        let Destination { service, version } = &rule.destination;
        let group = origin.world.find(service).and_then(|id| origin.world.group(id));
        let part =
            group.and_then(|group| part(origin, family, rule.weight, group, version.as_ref()));
        if part.is_none() {
            warnings.push(format!(
                "{origin}: no {} endpoint can take the share {} of {}; the other rules share it",
                family.as_str(),
                rule.weight,
                describe(&rule.destination)
            ));
        }
        parts.extend(part);
    }
    let multiple = parts.iter().try_fold(1, |multiple: u64, part| {
        let multiple = (multiple / gcd(multiple, part.sum)).checked_mul(part.sum)?;
        (multiple <= MAX_MULTIPLE).then_some(multiple)
    });
    let mut found = Vec::new();
    for part in &parts {
        for member in &part.members {
            let product = u128::from(part.rule) * u128::from(member.weight);
            let weight = match multiple {
                Some(multiple) => product * u128::from(multiple / part.sum),
                None => (product << FRACTION_BITS) / u128::from(part.sum),
            };
            found.push(Found { place: place(origin, member, part.target), weight, member });
        }
    }
    scale(found)
}

/// What one rule sends to one address.
struct Found<'a> {
    place: (IpKey, u16),
    weight: u128,
    member: &'a Arc<Member>,
}

fn rules<'a>(origin: &Origin<'a>) -> &'a [TrafficRule] {
    origin.group.config.as_ref().map_or(&[], |config| &config.traffic_rules)
}

/// The part of a rule; none where no endpoint can take connections.
fn part<'a>(
    origin: &Origin<'a>,
    family: Family,
    rule: u32,
    group: &'a Group,
    version: Option<&mesh_api::model::Label>,
) -> Option<Part<'a>> {
    let locality = origin.load_balancer().locality;
    let mut members: Vec<&Arc<Member>> = group
        .members()
        .iter()
        .filter(|member| {
            member.is_usable()
                && Family::of(member.address) == family
                && (version.is_none() || member.version.as_ref() == version)
        })
        .collect();
    if let Some(policy) = locality {
        let level = |member: &Arc<Member>| member.level.within(policy.scope);
        let nearest: Option<Level> = match policy.mode {
            LocalityMode::PreferLocal => members.iter().map(|member| level(member)).min(),
            LocalityMode::Strict => Some(Level::nearest(policy.scope)),
        };
        members.retain(|member| Some(level(member)) == nearest);
    }
    let sum = members.iter().map(|member| u64::from(member.weight)).sum();
    (sum > 0).then(|| Part { rule, sum, target: target(origin, group), members })
}

fn place(origin: &Origin<'_>, member: &Member, target: Port) -> (IpKey, u16) {
    let own = member.ports.iter().find(|(name, _)| *name == origin.port.name);
    (IpKey::from_ip(member.address), own.map_or(target, |(_, port)| *port).get())
}

/// Where a group's endpoints listen: the service's port of the same name, else of the same number
/// and protocol, else what this service's port says.
fn target(origin: &Origin<'_>, group: &Group) -> Port {
    let port = origin.port;
    if group.name == origin.group.name {
        return port.target_port;
    }
    let ports = group.service.as_ref().map_or(&[][..], |other| &other.ports);
    let named = ports.iter().find(|other| other.name == port.name);
    named
        .or_else(|| {
            ports.iter().find(|other| other.port == port.port && other.protocol == port.protocol)
        })
        .map_or(port.target_port, |other| other.target_port)
}

/// See [`Origin::targets`].
pub(super) fn targets(origin: &Origin<'_>) -> Vec<(IpKey, u16, Arc<Member>)> {
    let own = Some(origin.group);
    let others = rules(origin).iter().map(|rule| &rule.destination.service);
    let others = others
        .filter(|service| **service != origin.group.name)
        .map(|service| origin.world.find(service).and_then(|id| origin.world.group(id)));
    let mut targets = Vec::new();
    for group in std::iter::once(own).chain(others).flatten() {
        let target = target(origin, group);
        for member in group.members() {
            if Family::of(member.address) == origin.family {
                let (addr, port) = place(origin, member, target);
                targets.push((addr, port, Arc::clone(member)));
            }
        }
    }
    targets.sort_by_key(|(addr, port, _)| (*addr, *port));
    targets
}

/// Adds up what goes to one address, and brings the weights down to [`WEIGHT_BITS`] in proportion;
/// none becomes 0.
fn scale(mut found: Vec<Found<'_>>) -> Vec<Share> {
    found.sort_by_key(|found| found.place);
    found.dedup_by(|later, first| {
        let same = later.place == first.place;
        if same {
            first.weight = first.weight.saturating_add(later.weight);
        }
        same
    });
    let divisor = found.iter().fold(0, |divisor, found| gcd128(divisor, found.weight)).max(1);
    let largest = found.iter().map(|found| found.weight / divisor).max().unwrap_or(0);
    let excess = (u128::BITS - largest.leading_zeros()).saturating_sub(WEIGHT_BITS);
    let weight = |found: &Found<'_>| (found.weight / divisor) >> excess;
    found
        .into_iter()
        .map(|found| Share {
            weight: u64::try_from(weight(&found)).unwrap_or(u64::MAX).max(1),
            addr: found.place.0,
            port: found.place.1,
            member: Arc::clone(found.member),
        })
        .collect()
}

const fn gcd128(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn describe(destination: &Destination) -> String {
    match &destination.version {
        Some(version) => format!("{} version {version}", destination.service),
        None => destination.service.to_string(),
    }
}
