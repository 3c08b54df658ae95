//! Who gets which share of a kernel service's connections. docs/load-balancing.md has the
//! arithmetic with examples.
//!
//! With traffic rules, the share of an endpoint is
//! `rule weight / sum of rule weights × endpoint weight / sum over the rule's endpoints`;
//! without, it is `endpoint weight / sum over the service's endpoints`. Endpoints that drain,
//! have weight 0, are of another family, unhealthy, ejected, or too far away take no new
//! connections. A rule without any endpoint that can take connections leaves its share to the
//! other rules, in proportion, and a warning says so.
//!
//! Health goes before distance: the nearest level is the nearest one with a healthy endpoint. Of
//! a rule's endpoints that could take connections, wherever they are, too few may be healthy: less
//! than the panic threshold says. Then health and ejections are ignored for this rule, because the
//! few would be overrun, and because it is more likely that the checks are wrong. An endpoint that
//! turned healthy lately counts with a part of its weight (slow start).

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::model::{Destination, Label, LocalityMode, Port, TrafficRule};
use mesh_common::addr::IpKey;
use mesh_common::logic::round_robin::gcd;

use super::{Family, Origin, Via};
use crate::world::{Group, Level, Member, STEPS};

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
    /// Each with its weight there.
    members: Vec<(&'a Arc<Member>, u64)>,
    /// Too few are healthy, so that is ignored.
    panics: bool,
}

/// Who takes no new connections, though it could.
#[derive(Clone, Copy, Debug)]
pub(super) enum Apart<'a> {
    /// Nobody.
    Nobody,
    /// The unhealthy, and those at these addresses and ports.
    These(&'a BTreeSet<(IpKey, u16)>),
}

/// What [`shares`] has found.
#[derive(Debug)]
pub(super) struct Shared {
    /// All shares, by address and port.
    pub(super) shares: Vec<Share>,
    /// Health and ejections are ignored for some rule.
    pub(super) panics: bool,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// Where connections go that follow one rule.
struct Sent<'a> {
    rule: u32,
    group: &'a Group,
    version: Option<&'a Label>,
    /// As people write it.
    whereto: Option<&'a Destination>,
}

/// Where connections go. A service that is not there is no group.
fn sent<'a>(origin: &Origin<'a>) -> Vec<Result<Sent<'a>, &'a TrafficRule>> {
    let Some(rules) = rules(origin) else {
        return vec![Ok(Sent { rule: 1, group: origin.group, version: None, whereto: None })];
    };
    let sent = |rule: &'a TrafficRule| {
        let Destination { service, version } = &rule.destination;
        let group = origin.world.find(service).and_then(|id| origin.world.group(id)).ok_or(rule)?;
        let whereto = Some(&rule.destination);
        Ok(Sent { rule: rule.weight, group, version: version.as_ref(), whereto })
    };
    rules.into_iter().filter(|rule| rule.weight > 0).map(sent).collect()
}

/// How many backends the service has, healthy or not.
pub(super) fn candidates(origin: &Origin<'_>, family: Family) -> usize {
    let mut places = BTreeSet::new();
    for sent in sent(origin).into_iter().flatten() {
        let part = part(origin, family, &sent, Apart::Nobody, &mut Vec::new());
        let of = |part: Part<'_>| {
            let place = |(member, _): &(&Arc<Member>, u64)| place(origin, member, part.target);
            part.members.iter().map(place).collect::<Vec<_>>()
        };
        places.extend(part.map(of).unwrap_or_default());
    }
    places.len()
}

/// Who gets how much.
pub(super) fn shares(origin: &Origin<'_>, apart: Apart<'_>) -> Shared {
    let family = origin.family;
    let (mut panics, mut warnings) = (false, Vec::new());
    let mut parts = Vec::new();
    for sent in sent(origin) {
        let to = sent.as_ref().ok();
        let part = to.and_then(|sent| part(origin, family, sent, apart, &mut warnings));
        let (weight, whereto) = match sent {
            Ok(Sent { rule, whereto, .. }) => (rule, whereto),
            Err(rule) => (rule.weight, Some(&rule.destination)),
        };
        if let (None, Some(whereto)) = (&part, whereto) {
            warnings.push(format!(
                "{origin}: no {} endpoint can take the share {weight} of {}; the other rules share \
                 it",
                family.as_str(),
                describe(whereto)
            ));
        }
        panics |= part.as_ref().is_some_and(|part| part.panics);
        parts.extend(part);
    }
    let multiple = parts.iter().try_fold(1, |multiple: u64, part| {
        let multiple = (multiple / gcd(multiple, part.sum)).checked_mul(part.sum)?;
        (multiple <= MAX_MULTIPLE).then_some(multiple)
    });
    let mut found = Vec::new();
    for part in &parts {
        for (member, weight) in &part.members {
            let product = u128::from(part.rule) * u128::from(*weight);
            let weight = match multiple {
                Some(multiple) => product * u128::from(multiple / part.sum),
                None => (product << FRACTION_BITS) / u128::from(part.sum),
            };
            found.push(Found { place: place(origin, member, part.target), weight, member });
        }
    }
    Shared { shares: scale(found), panics, warnings }
}

/// What one rule sends to one address.
struct Found<'a> {
    place: (IpKey, u16),
    weight: u128,
    member: &'a Arc<Member>,
}

/// What the kernel can follow; `None` where there are no rules at all.
fn rules<'a>(origin: &Origin<'a>) -> Option<Vec<&'a TrafficRule>> {
    let config = origin.group.config.as_ref()?;
    let rules: Vec<_> = config.rules_of_connections().collect();
    let any = origin.via == Via::AnyEndpoint;
    let none = if any { rules.is_empty() } else { config.traffic_rules.is_empty() };
    (!none).then_some(rules)
}

/// The part of a rule; none where no endpoint can take connections.
fn part<'a>(
    origin: &Origin<'a>,
    family: Family,
    sent: &Sent<'a>,
    apart: Apart<'_>,
    warnings: &mut Vec<String>,
) -> Option<Part<'a>> {
    let &Sent { rule, group, version, .. } = sent;
    let balancer = origin.load_balancer();
    let target = target(origin, group);
    let mut members: Vec<&Arc<Member>> = group
        .members()
        .iter()
        .filter(|member| {
            member.is_usable()
                && Family::of(member.address) == family
                && (version.is_none() || member.version.as_ref() == version)
        })
        .collect();
    let mut panics = false;
    if let Apart::These(ejected) = apart {
        let all = members.len();
        let is_good = |member: &Arc<Member>| {
            group.is_healthy(member) && !ejected.contains(&place(origin, member, target))
        };
        let good = members.iter().filter(|member| is_good(member)).count();
        panics = good * 100 < all * usize::from(balancer.panic_threshold);
        if panics {
            warnings.push(format!(
                "{origin}: only {good} of {all} {} endpoints{} are healthy, less than the panic \
                 threshold, {}%: all of them get connections",
                family.as_str(),
                sent.whereto.map(|to| format!(" of {}", describe(to))).unwrap_or_default(),
                balancer.panic_threshold
            ));
        } else {
            members.retain(|member| is_good(member));
        }
        if members.is_empty() && all > 0 {
            warnings.push(format!(
                "{origin}: none of {all} {} endpoints{} is healthy",
                family.as_str(),
                sent.whereto.map(|to| format!(" of {}", describe(to))).unwrap_or_default(),
            ));
        }
    }
    if let Some(policy) = balancer.locality {
        let level = |member: &Arc<Member>| member.level.within(policy.scope);
        let nearest: Option<Level> = match policy.mode {
            LocalityMode::PreferLocal => members.iter().map(|member| level(member)).min(),
            LocalityMode::Strict => Some(Level::nearest(policy.scope)),
        };
        members.retain(|member| Some(level(member)) == nearest);
    }
    let step =
        |member: &Arc<Member>| origin.world.step(group.turned(&member.name), balancer.slow_start);
    let steps: Vec<u32> = members.iter().map(|member| step(member)).collect();
    // Whole weights, where nobody starts slowly.
    let full = steps.iter().all(|step| *step == STEPS);
    let weight = |(member, step): (&'a Arc<Member>, u32)| {
        (member, u64::from(member.weight) * if full { 1 } else { u64::from(step) })
    };
    let members: Vec<_> = members.into_iter().zip(steps).map(weight).collect();
    let sum = members.iter().map(|(_, weight)| weight).sum();
    (sum > 0).then_some(Part { rule, sum, target, members, panics })
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
    let others = rules(origin).into_iter().flatten().map(|rule| &rule.destination.service);
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
