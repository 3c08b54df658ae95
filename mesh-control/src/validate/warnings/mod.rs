//! What may be stored and does not work yet, or not as it may have been meant: most of it is put
//! right by an object that comes later, so it is no violation.

mod clients;
mod resilience;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::{
    Endpoint, Kind, LocalityMode, LocalityScope, Object, ObjectName, ObjectRef, Service,
    ServiceConfig,
};
use mesh_api::violation::Warning;

use self::resilience::Reached;
use super::{Batch, Plan};
use crate::world::{Endpoints, Family, World};

/// Most warnings of one batch.
const MAX_WARNINGS: usize = 100;

/// The warnings for the objects that a batch puts, also where they have not changed.
pub(super) fn collect(plan: &Plan, batch: &Batch) -> Vec<Warning> {
    let touched = Touched::by(plan, batch);
    let mut found = Vec::new();
    for (service, of) in &touched.services {
        check(&plan.world, service, of, &mut found);
    }
    found.sort_by_key(|warning| warning.index);
    if found.len() > MAX_WARNINGS {
        let more = found.len() - MAX_WARNINGS;
        found.truncate(MAX_WARNINGS);
        let message = format!("{more} more warnings are not listed");
        found.push(Warning { object: None, index: usize::MAX, field: String::new(), message });
    }
    found
}

/// The services that a batch has to do with, and its objects that have to do with them.
#[derive(Default)]
struct Touched<'a> {
    services: BTreeMap<&'a ObjectName, Objects<'a>>,
}

#[derive(Default)]
struct Objects<'a> {
    service: Option<(usize, &'a Service)>,
    config: Option<(usize, &'a ServiceConfig)>,
    endpoints: Vec<(usize, &'a Endpoint)>,
}

impl<'a> Touched<'a> {
    fn by(plan: &'a Plan, batch: &Batch) -> Self {
        let mut touched = Self::default();
        for (change, outcome) in batch.changes.iter().zip(&plan.outcomes) {
            let index = change.index;
            match outcome.after.as_ref().map(|after| &after.object) {
                Some(Object::Service(service)) => {
                    touched.of(&service.name).service = Some((index, service));
                }
                Some(Object::ServiceConfig(config)) => {
                    touched.of(&config.name).config = Some((index, config));
                }
                Some(Object::Endpoint(endpoint)) => {
                    touched.of(&endpoint.service).endpoints.push((index, endpoint));
                }
                None => {}
            }
        }
        touched
    }

    fn of(&mut self, service: &'a ObjectName) -> &mut Objects<'a> {
        self.services.entry(service).or_default()
    }
}

impl Objects<'_> {
    /// The first endpoint that `is` one of those meant, and how many of them follow.
    fn first(&self, is: impl Fn(&Endpoint) -> bool) -> Option<(usize, &Endpoint, usize)> {
        let mut of = self.endpoints.iter().filter(|(_, endpoint)| is(endpoint));
        let (index, endpoint) = of.next()?;
        Some((*index, endpoint, of.count()))
    }
}

fn check(world: &World, name: &ObjectName, of: &Objects<'_>, found: &mut Vec<Warning>) {
    let Some(service) = stored(world, Kind::Service, name).and_then(as_service) else {
        if let Some((index, endpoint, more)) = of.first(|_| true) {
            let message = format!(
                "there is no Service {name} yet: nothing is sent to this endpoint{}",
                and_more(more)
            );
            found.push(warning(index, Kind::Endpoint, &endpoint.name, "spec.service", message));
        }
        return;
    };
    let config = stored(world, Kind::ServiceConfig, name).and_then(as_config);
    let destinations = destinations(name, config);
    let sources: Vec<&Endpoints> =
        destinations.iter().filter_map(|service| world.endpoints_of(service)).collect();
    if !sources.is_empty() {
        families(service, of, &sources, found);
        strict(name, config, of, &sources, found);
    }
    unused(world, service, of, found);
    if let Some(config) = config {
        clients::check(service, config, of, found);
        let checked = destinations.iter().any(|service| {
            let config = stored(world, Kind::ServiceConfig, service).and_then(as_config);
            config.is_some_and(|config| config.health_check.is_some())
        });
        let endpoints = sources.iter().map(|source| source.len()).sum();
        let placed = sources.iter().any(|source| source.stated(LocalityScope::Node));
        let reached = Reached { endpoints, checked, placed };
        resilience::check(world, service, config, of, reached, found);
    }
}

/// The services to whose endpoints the connections of a service go.
fn destinations<'w>(
    name: &'w ObjectName,
    config: Option<&'w ServiceConfig>,
) -> BTreeSet<&'w ObjectName> {
    let rules = config.into_iter().flat_map(ServiceConfig::rules_of_connections);
    let rules = rules.filter(|rule| rule.weight > 0);
    let mut services: BTreeSet<&ObjectName> = rules.map(|rule| &rule.destination.service).collect();
    if services.is_empty() {
        services.insert(name);
    }
    services
}

/// Addresses of a family that no endpoint has.
fn families(service: &Service, of: &Objects<'_>, sources: &[&Endpoints], found: &mut Vec<Warning>) {
    for family in [Family::V4, Family::V6] {
        let mut vips = service.vips.iter().zip(0_usize..);
        let Some((vip, at)) = vips.find(|(vip, _)| Family::of(**vip) == family) else {
            continue;
        };
        if sources.iter().any(|source| source.has(family)) {
            continue;
        }
        let message = format!(
            "connections to {vip} find no backend: no endpoint of Service {} has an {} address",
            service.name,
            family.as_str()
        );
        let (index, kind, name, field) = if let Some((index, service)) = of.service {
            (index, Kind::Service, &service.name, format!("spec.vips[{at}]"))
        } else if let Some((index, endpoint, _)) = of.first(|_| true) {
            (index, Kind::Endpoint, &endpoint.name, "spec.address".to_owned())
        } else if let Some((index, config)) = of.config {
            (index, Kind::ServiceConfig, &config.name, "spec.trafficRules".to_owned())
        } else {
            continue;
        };
        found.push(warning(index, kind, name, field, message));
    }
}

/// Strict locality that no endpoint can meet, because none says where it is.
fn strict(
    name: &ObjectName,
    config: Option<&ServiceConfig>,
    of: &Objects<'_>,
    sources: &[&Endpoints],
    found: &mut Vec<Warning>,
) {
    let Some(locality) = config.and_then(|config| config.load_balancer.locality) else { return };
    let met = sources.iter().any(|source| source.stated(locality.scope));
    if locality.mode != LocalityMode::Strict || met {
        return;
    }
    let needed = match locality.scope {
        LocalityScope::Node => "a node",
        LocalityScope::Zone => "a node or a zone",
        LocalityScope::Region => "a node, a zone or a region",
    };
    let scope = locality.scope.as_str();
    let message = format!(
        "with locality mode Strict and scope {scope}, connections to Service {name} find no \
         backend: no endpoint states {needed}"
    );
    if let Some((index, config)) = of.config {
        let field = "spec.loadBalancer.locality.mode";
        found.push(warning(index, Kind::ServiceConfig, &config.name, field, message));
    } else if let Some((index, endpoint, _)) = of.first(|_| true) {
        found.push(warning(index, Kind::Endpoint, &endpoint.name, "spec.node", message));
    }
}

/// Endpoints of a family of which the service has no address. Another service may still use them.
fn unused(world: &World, service: &Service, of: &Objects<'_>, found: &mut Vec<Warning>) {
    if world.referrers(&service.name).any(|config| *config != service.name) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        if service.vips.iter().any(|vip| Family::of(*vip) == family) {
            continue;
        }
        let first = of.first(|endpoint| Family::of(endpoint.address) == family);
        if let Some((index, endpoint, more)) = first {
            let message = format!(
                "Service {} has no {} address: nothing is sent to this endpoint{}",
                service.name,
                family.as_str(),
                and_more(more)
            );
            found.push(warning(index, Kind::Endpoint, &endpoint.name, "spec.address", message));
        }
    }
}

fn stored<'w>(world: &'w World, kind: Kind, name: &ObjectName) -> Option<&'w Object> {
    let reference = ObjectRef { kind, name: name.clone() };
    world.get(&reference).map(|stored| &stored.object)
}

const fn as_service(object: &Object) -> Option<&Service> {
    if let Object::Service(service) = object { Some(service) } else { None }
}

const fn as_config(object: &Object) -> Option<&ServiceConfig> {
    if let Object::ServiceConfig(config) = object { Some(config) } else { None }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", nor to {more} more of this request") }
}

fn warning(
    index: usize,
    kind: Kind,
    name: &ObjectName,
    field: impl Into<String>,
    message: String,
) -> Warning {
    let object = Some(ObjectRef { kind, name: name.clone() });
    Warning { object, index, field: field.into(), message }
}
