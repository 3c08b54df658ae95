//! Whether an endpoint takes new connections of its service, and where it does not, why.

use std::time::Duration;

use mesh_api::model::{LocalityMode, LocalityScope};
use mesh_api::wire;

use super::shares::Family;
use super::world::World;
use crate::commands::health::{Endpoint, Guard, GuardState, Status};
use crate::output::style::Tone;
use crate::output::time;

/// Steps from nothing to the full share, as the agents count them.
const STEPS: u64 = 10;
/// Nodes that are named.
const NAMED: usize = 3;

/// `yes`, `yes, but …` or `no: …`.
pub(super) fn of(world: &World<'_>, name: &str, spec: &wire::Endpoint) -> (String, Option<Tone>) {
    if let Some(why) = never(world, spec) {
        return (format!("no: {why}"), Some(Tone::Bad));
    }
    let mut but = Vec::new();
    if let Some(why) = unhealthy(world, name, spec) {
        if !world.parts_of(spec).any(|part| part.panic) {
            return (format!("no: {why}"), Some(Tone::Bad));
        }
        but.push(format!("in spite of being {why}"));
    }
    but.extend(slow_start(world, name));
    but.extend(only_from(world, spec));
    let guards = world.health.guards_of(world.service).filter(|guard| guard.endpoint == name);
    let guards = guards_text(&guards.collect::<Vec<_>>());
    let tone = guards.as_ref().map(|_| Tone::Bad);
    but.extend(guards);
    if but.is_empty() {
        return ("yes".to_owned(), None);
    }
    (format!("yes, {}", but.join("; ")), tone)
}

/// Why an endpoint takes none, healthy or not.
fn never(world: &World<'_>, spec: &wire::Endpoint) -> Option<String> {
    if spec.state() == wire::EndpointState::Draining {
        return Some("draining".to_owned());
    }
    if spec.weight == Some(0) {
        return Some("weight 0".to_owned());
    }
    let family = Family::of(&spec.address)?;
    if !world.families.contains(&family) {
        return Some(format!("the service has no {family} address"));
    }
    if world.parts_of(spec).next().is_none() {
        return Some("no traffic rule".to_owned());
    }
    let scope = strict(world)?;
    let (missing, what) = match scope {
        LocalityScope::Node => (spec.node.is_empty(), "node"),
        LocalityScope::Zone => (spec.node.is_empty() && locality(spec).zone.is_empty(), "zone"),
        LocalityScope::Region => {
            let wire::Locality { region, zone } = locality(spec);
            (spec.node.is_empty() && region.is_empty() && zone.is_empty(), "region")
        }
    };
    missing.then(|| format!("it has no {what}, and locality is Strict"))
}

fn locality(spec: &wire::Endpoint) -> wire::Locality {
    spec.locality.clone().unwrap_or_default()
}

fn strict(world: &World<'_>) -> Option<LocalityScope> {
    let locality = world.settings.as_ref()?.load_balancer.locality?;
    (locality.mode == LocalityMode::Strict).then_some(locality.scope)
}

/// Where its clients are, if they cannot be anywhere.
fn only_from(world: &World<'_>, spec: &wire::Endpoint) -> Option<String> {
    let wire::Locality { region, zone } = locality(spec);
    Some(match strict(world)? {
        LocalityScope::Node => format!("only on node {}", spec.node),
        LocalityScope::Zone if zone.is_empty() => format!("only on node {}", spec.node),
        LocalityScope::Zone => format!("only in zone {zone}"),
        LocalityScope::Region if region.is_empty() => "only nearby".to_owned(),
        LocalityScope::Region => format!("only in region {region}"),
    })
}

/// As in `unhealthy for 12s (agent a): connect: Connection refused`.
fn unhealthy(world: &World<'_>, name: &str, spec: &wire::Endpoint) -> Option<String> {
    if !world.is_unhealthy(name, spec) {
        return None;
    }
    let Some(health) = world.health.of(name) else {
        return Some("unhealthy until it is checked (initialState)".to_owned());
    };
    Some(match health.status {
        Status::Healthy | Status::Unknown => {
            let reason = after_colon(&health.reason);
            format!("unhealthy until it is checked (initialState){reason}")
        }
        Status::Unhealthy => said(health),
    })
}

/// What a verdict rests on.
pub(super) fn said(health: &Endpoint) -> String {
    let Endpoint { status, since_ms, source, reason, held_ms, .. } = health;
    let source = if source.is_empty() { String::new() } else { format!(" ({source})") };
    let held = match held_ms {
        0 => String::new(),
        ms => format!(", held for another {} or more", time::age(*ms)),
    };
    let status = status.as_str().to_lowercase();
    format!("{status} for {}{source}{held}{}", time::age(*since_ms), after_colon(reason))
}

fn after_colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// Which part of its share it gets by now.
fn slow_start(world: &World<'_>, name: &str) -> Option<String> {
    let slow = world.settings.as_ref()?.load_balancer.slow_start?;
    let health = world.health.of(name)?;
    let since = Duration::from_millis(health.since_ms);
    // One that was healthy from the beginning did not start slowly.
    if health.status != Status::Healthy || health.changes == 0 || since >= slow {
        return None;
    }
    let step = since.as_millis() * u128::from(STEPS) / slow.as_millis().max(1) + 1;
    Some(format!("with {step}/{STEPS} of its share (slow start)"))
}

fn guards_text(guards: &[&Guard]) -> Option<String> {
    let (first, rest) = guards.split_at_checked(NAMED).unwrap_or((guards, &[]));
    let mut texts: Vec<_> = first.iter().map(|guard| guard_text(guard)).collect();
    if !rest.is_empty() {
        texts.push(format!("{} more", rest.len()));
    }
    (!texts.is_empty()).then(|| format!("but not everywhere: {}", texts.join(", ")))
}

fn guard_text(guard: &Guard) -> String {
    let Guard { node, port, state, remaining_ms, .. } = guard;
    let what = match state {
        GuardState::Open => format!("breaker open on node {node} (port {port})"),
        GuardState::HalfOpen => format!("only trials on node {node} (port {port})"),
        GuardState::Ejected => format!("ejected on node {node} (port {port})"),
        GuardState::Unknown => format!("held back on node {node} (port {port})"),
    };
    match (state, remaining_ms) {
        (GuardState::HalfOpen, _) => what,
        (_, 0) => format!("{what} until the next connect"),
        (_, ms) => format!("{what} for another {}", time::age(*ms)),
    }
}
