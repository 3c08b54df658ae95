//! Traffic rules: wire ⇄ model.

mod actions;
mod matches;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::actions::TIMEOUT;

use super::{label_text, optional_label};
use crate::model::{Destination, Name, ObjectName, RequestRule, RouteMatch, TrafficRule};
use crate::violation::{Fields, Reason};
use crate::wire;

/// Most traffic rules of a service.
const MAX_RULES: usize = 256;
/// Highest weight of a rule: 2^20.
const MAX_WEIGHT: u32 = 1 << 20;
const AT: &str = "spec.trafficRules";

pub(super) fn from_wire(
    fields: &mut Fields,
    name: &ObjectName,
    rules: Vec<wire::TrafficRule>,
) -> Vec<TrafficRule> {
    if rules.len() > MAX_RULES {
        let message = format!("{} rules: use at most {MAX_RULES}", rules.len());
        fields.invalid(AT, message);
    }
    let mut checked = Vec::new();
    for (index, rule) in rules.into_iter().take(MAX_RULES).enumerate() {
        let at = format!("{AT}[{index}]");
        if let Some(rule) = one(fields, &at, name, rule) {
            checked.push((index, rule));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, rule) in &checked {
        if !seen.insert((rule.matches(), &rule.destination)) {
            let message = "an earlier rule has the same match and destination";
            fields.push(Reason::Duplicate, format!("{AT}[{index}].destination"), message);
        }
    }
    agree(fields, &checked);
    weigh(fields, &mut checked);
    checked.into_iter().map(|(_, rule)| rule).collect()
}

/// A rule by itself; `None` where it cannot be said where it leads.
fn one(
    fields: &mut Fields,
    at: &str,
    name: &ObjectName,
    rule: wire::TrafficRule,
) -> Option<TrafficRule> {
    let wire::TrafficRule {
        destination,
        weight,
        retries,
        timeout_ms,
        r#match,
        mirror,
        fault,
        redirect,
        rewrite,
    } = rule;
    let matches = r#match.and_then(|it| matches::from_wire(fields, &format!("{at}.match"), it));
    let redirects = redirect.is_some();
    let timeout = actions::timeout(fields, at, timeout_ms);
    let request = RequestRule {
        retries: retries.map(|retries| actions::retries(fields, at, retries, timeout)),
        timeout,
        mirror: mirror.and_then(|mirror| actions::mirror(fields, at, name, mirror)),
        fault: fault.and_then(|fault| actions::fault(fields, at, fault)),
        redirect: redirect.and_then(|it| actions::redirect(fields, at, it, matches.as_ref())),
        rewrite: rewrite.and_then(|it| actions::rewrite(fields, at, it, matches.as_ref())),
        matches,
    };
    if weight > MAX_WEIGHT {
        let message = format!("{weight} is too high: use 0 to {MAX_WEIGHT}");
        fields.invalid(format!("{at}.weight"), message);
    }
    let destination = if redirects {
        let RequestRule { retries, timeout, mirror, fault, rewrite, .. } = &request;
        let others = [
            ("destination", destination.is_some()),
            ("retries", retries.is_some()),
            ("timeout", timeout.is_some()),
            ("mirror", mirror.is_some()),
            ("fault", fault.is_some()),
            ("rewrite", rewrite.is_some()),
        ];
        for (other, _) in others.into_iter().filter(|(_, given)| *given) {
            let message = "not beside redirect, which goes to no endpoint: remove one of the two";
            fields.invalid(format!("{at}.{other}"), message);
        }
        Destination { service: name.clone(), version: None }
    } else {
        self::destination(fields, &format!("{at}.destination"), name, destination)?
    };
    let request = (request != RequestRule::default()).then(|| Box::new(request));
    Some(TrafficRule { destination, weight, request })
}

/// Rules with one match are shares of one route: they differ in destination and weight only.
fn agree(fields: &mut Fields, rules: &[(usize, TrafficRule)]) {
    let mut first: BTreeMap<Option<&RouteMatch>, (usize, &TrafficRule)> = BTreeMap::new();
    for (index, rule) in rules {
        let (first_index, first) = *first.entry(rule.matches()).or_insert((*index, rule));
        let none = RequestRule::default();
        let of = |rule: &'_ TrafficRule| rule.request.as_deref().cloned().unwrap_or(none.clone());
        let (one, other) = (of(first), of(rule));
        let differ = [
            ("retries", one.retries != other.retries),
            ("timeout", one.timeout != other.timeout),
            ("mirror", one.mirror != other.mirror),
            ("fault", one.fault != other.fault),
            ("redirect", one.redirect != other.redirect),
            ("rewrite", one.rewrite != other.rewrite),
        ];
        for (field, _) in differ.into_iter().filter(|(_, differ)| *differ) {
            let message = format!(
                "differs from {AT}[{first_index}].{field}, which has the same match: rules with one \
                 match share its requests out by weight; say the same in both, or give them \
                 different matches"
            );
            fields.push(Reason::Conflict, format!("{AT}[{index}].{field}"), message);
        }
    }
}

/// The weights of the rules with one match. Where a match has none at all, its rules share alike.
fn weigh(fields: &mut Fields, rules: &mut [(usize, TrafficRule)]) {
    let mut sums: BTreeMap<Option<RouteMatch>, u64> = BTreeMap::new();
    for (_, rule) in rules.iter() {
        *sums.entry(rule.matches().cloned()).or_default() += u64::from(rule.weight);
    }
    let mut refused = false;
    for (_, rule) in rules.iter_mut() {
        if sums.get(&rule.matches().cloned()) == Some(&0) {
            refused |= rule.request.is_none();
            rule.weight = 1;
        }
    }
    if refused {
        let message = "the weights add up to 0: give at least one rule a weight above 0";
        fields.invalid(AT, message);
    }
}

/// A set of endpoints within the namespace.
fn destination(
    fields: &mut Fields,
    at: &str,
    name: &ObjectName,
    destination: Option<wire::Destination>,
) -> Option<Destination> {
    let wire::Destination { service, version } = destination.unwrap_or_default();
    if service.is_empty() && version.is_empty() {
        fields.invalid(at, "required: a version, a service, or both");
        return None;
    }
    let version_label = optional_label(fields, &format!("{at}.version"), &version);
    if version_label.is_none() && !version.is_empty() {
        return None;
    }
    let service = if service.is_empty() {
        name.clone()
    } else {
        name.sibling(fields.check(&format!("{at}.service"), service.parse::<Name>())?)
    };
    Some(Destination { service, version: version_label })
}

fn destination_to_wire(name: &ObjectName, to: &Destination) -> wire::Destination {
    let own = to.service == *name && to.version.is_some();
    let service = if own { String::new() } else { to.service.name.to_string() };
    wire::Destination { service, version: label_text(to.version.as_ref()) }
}

pub(super) fn to_wire(name: &ObjectName, rule: &TrafficRule) -> wire::TrafficRule {
    let TrafficRule { destination, weight, request } = rule;
    let none = RequestRule::default();
    let request = request.as_deref().unwrap_or(&none);
    let RequestRule { matches, retries, timeout, mirror, fault, redirect, rewrite } = request;
    let destination = redirect.is_none().then(|| destination_to_wire(name, destination));
    wire::TrafficRule {
        destination,
        weight: *weight,
        retries: retries.as_ref().map(actions::retries_to_wire),
        timeout_ms: timeout.map(super::milliseconds),
        r#match: matches.as_ref().map(matches::to_wire),
        mirror: mirror.as_ref().map(|mirror| actions::mirror_to_wire(name, mirror)),
        fault: fault.as_ref().map(actions::fault_to_wire),
        redirect: redirect.as_ref().map(actions::redirect_to_wire),
        rewrite: rewrite.as_ref().map(actions::rewrite_to_wire),
    }
}
