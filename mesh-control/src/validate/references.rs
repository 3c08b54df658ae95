//! What an object names must exist when it is stored: the service of a config, the service and
//! the version of a destination. Nothing that is named can be deleted alone, except endpoints:
//! they come and go, and a version without any just gets no connections.
//!
//! A version counts as known when any endpoint of the service has it, in the store or in the
//! same batch, or when the stored config has the same destination already: a change of weights
//! must not fail because the last endpoint of a version has just left.

use std::collections::BTreeSet;

use mesh_api::model::{Destination, Kind, Object, ObjectName, ObjectRef, ServiceConfig};
use mesh_api::violation::{Reason, Violation};

use super::{Action, Batch, Outcome, Plan, violation};

/// Most names listed in one message.
const MAX_LISTED: usize = 8;

/// Reports references to what does not exist, and deletions of what is referred to.
pub(super) fn check(plan: &Plan, batch: &Batch, found: &mut Vec<Violation>) {
    for (change, outcome) in batch.changes.iter().zip(&plan.outcomes) {
        match outcome.action {
            Action::Created | Action::Configured => {
                if let Some(config) = config_of(outcome.after.as_deref()) {
                    check_config(plan, batch, change.index, outcome, config, found);
                }
            }
            Action::Deleted => check_delete(plan, change.index, outcome, found),
            Action::Unchanged => {}
        }
    }
}

fn config_of(stored: Option<&crate::world::Stored>) -> Option<&ServiceConfig> {
    match &stored?.object {
        Object::ServiceConfig(config) => Some(config),
        Object::Service(_) | Object::Endpoint(_) => None,
    }
}

fn check_config(
    plan: &Plan,
    batch: &Batch,
    index: usize,
    outcome: &Outcome,
    config: &ServiceConfig,
    found: &mut Vec<Violation>,
) {
    let exists = |name: &ObjectName| plan.world.has_service(name) || unread(batch, name);
    let mut missing = |field: String, message: String| {
        let reason = Reason::MissingReference;
        found.push(violation(index, &outcome.reference, field, reason, message));
    };
    if !exists(&config.name) {
        missing(
            "metadata.name".to_owned(),
            format!("there is no Service {}: create it first, or in the same request", config.name),
        );
    }
    let before = config_of(outcome.before.as_deref());
    let named = config.traffic_rules.iter().zip(0_usize..).flat_map(|(rule, at)| {
        let at = format!("spec.trafficRules[{at}]");
        let mirror = rule.request.as_ref().and_then(|request| request.mirror.as_ref());
        let mirror = mirror.map(|it| (format!("{at}.mirror.destination"), &it.destination));
        let own = (format!("{at}.destination"), &rule.destination);
        [own].into_iter().chain(mirror)
    });
    for (at, destination) in named {
        let Destination { service, version } = destination;
        if !exists(service) {
            // A destination within a missing service has been reported above.
            if *service != config.name {
                missing(format!("{at}.service"), format!("there is no Service {service}"));
            }
            continue;
        }
        let Some(version) = version else { continue };
        let known = plan.world.versions(service).any(|it| it == Some(version))
            || before.is_some_and(|before| before.destinations().any(|it| it == destination))
            || batch.unread.iter().any(|it| it.kind == Kind::Endpoint);
        if !known {
            missing(
                format!("{at}.version"),
                format!(
                    "no endpoint of Service {service} has version {:?}{}",
                    version.as_str(),
                    known_versions(plan, service)
                ),
            );
        }
    }
}

fn unread(batch: &Batch, name: &ObjectName) -> bool {
    let mut unread = batch.unread.iter();
    unread.any(|it| it.kind == Kind::Service && it.name == *name)
}

fn known_versions(plan: &Plan, service: &ObjectName) -> String {
    let versions: BTreeSet<&str> =
        plan.world.versions(service).flatten().map(mesh_api::model::Label::as_str).collect();
    if versions.is_empty() {
        return ": register its endpoints first, or in the same request".to_owned();
    }
    format!("; there is {}", list(versions.into_iter()))
}

fn check_delete(plan: &Plan, index: usize, outcome: &Outcome, found: &mut Vec<Violation>) {
    let ObjectRef { kind, name } = &outcome.reference;
    if *kind != Kind::Service || plan.world.has_service(name) {
        return;
    }
    let mut referrers = plan.world.referrers(name).peekable();
    if referrers.peek().is_some() {
        let message = format!(
            "still used by ServiceConfig {}: change or delete it first, or delete it in the \
             same request",
            list(referrers.map(ToString::to_string))
        );
        let field = "metadata.name";
        let reason = Reason::Conflict;
        found.push(violation(index, &outcome.reference, field, reason, message));
    }
}

/// `a, b, c and 4 more`.
fn list<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    let mut names = names;
    let shown: Vec<T> = names.by_ref().take(MAX_LISTED).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
