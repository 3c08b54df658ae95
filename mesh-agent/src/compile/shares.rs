//! Who gets which share of a service port's connections.
//!
//! With traffic rules, the share of an endpoint is
//! `rule weight / sum of rule weights × endpoint weight / sum over the rule's endpoints`;
//! without, it is `endpoint weight / sum over the service's endpoints`. Endpoints that drain or
//! have weight 0 take no new connections. A rule without any endpoint that can take connections
//! leaves its share to the other rules, in proportion, and a warning says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::model::{
    Destination, Endpoint, EndpointState, ObjectName, Port, Service, ServicePort,
};

use crate::world::World;

/// One backend's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The endpoint; the first by name where several have the same address and port.
    pub(super) endpoint: ObjectName,
    /// Where connections go.
    pub(super) address: IpAddr,
    /// The port there.
    pub(super) port: u16,
    /// Weight relative to the other shares; never 0.
    pub(super) weight: u64,
}

/// Fraction bits of an intermediate weight. Rule and endpoint weights have at most 20 bits each,
/// so `weight × weight << 80` fits 128 bits.
const FRACTION_BITS: u32 = 80;
/// Bits of a final weight.
const WEIGHT_BITS: u32 = 62;

/// Endpoints by their service: without it, every port would look at every endpoint.
pub(super) struct ByService<'a>(BTreeMap<&'a ObjectName, Vec<&'a Endpoint>>);

impl<'a> ByService<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let mut by_service: BTreeMap<_, Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in world.endpoints.values() {
            by_service.entry(&endpoint.service).or_default().push(endpoint);
        }
        Self(by_service)
    }
}

pub(super) fn shares(
    world: &World,
    by_service: &ByService<'_>,
    service: &Service,
    port: &ServicePort,
    warnings: &mut Vec<String>,
) -> Vec<Share> {
    let rules = world.configs.get(&service.name).map_or(&[][..], |config| &config.traffic_rules);
    let everything = Destination { service: service.name.clone(), version: None };
    let mut found: BTreeMap<(IpAddr, u16), (ObjectName, u128)> = BTreeMap::new();
    let mut add = |destination: &Destination, rule_weight: u32| {
        let endpoints = endpoints(world, by_service, service, port, destination);
        let sum: u128 = endpoints.iter().map(|(endpoint, _)| u128::from(endpoint.weight)).sum();
        if sum == 0 {
            return false;
        }
        for (endpoint, target) in endpoints {
            let product = u128::from(rule_weight) * u128::from(endpoint.weight);
            let weight = (product << FRACTION_BITS) / sum;
            found
                .entry((endpoint.address, target.get()))
                .and_modify(|(_, total)| *total = total.saturating_add(weight))
                .or_insert_with(|| (endpoint.name.clone(), weight));
        }
        true
    };
    if rules.is_empty() {
        add(&everything, 1);
    }
    for rule in rules.iter().filter(|rule| rule.weight > 0) {
        if !add(&rule.destination, rule.weight) {
            warnings.push(format!(
                "service {}, port {}: no endpoint can take the share {} of {}; the other rules \
                 share it",
                service.name,
                port.port,
                rule.weight,
                describe(&rule.destination)
            ));
        }
    }
    scale(found)
}

/// Endpoints of a destination that take new connections, with the port to connect to.
fn endpoints<'a>(
    world: &World,
    by_service: &ByService<'a>,
    service: &Service,
    port: &ServicePort,
    destination: &Destination,
) -> Vec<(&'a Endpoint, Port)> {
    let target = target_port(world, service, port, destination);
    let all = by_service.0.get(&destination.service).map_or(&[][..], Vec::as_slice);
    all.iter()
        .filter(|endpoint| {
            (destination.version.is_none() || endpoint.version == destination.version)
                && endpoint.state == EndpointState::Serving
                && endpoint.weight > 0
                // Only IPv4 services are compiled, and an address leads to its own family.
                && endpoint.address.is_ipv4()
        })
        .map(|endpoint| (*endpoint, endpoint.ports.get(&port.name).copied().unwrap_or(target)))
        .collect()
}

/// Where the destination's endpoints listen: the destination service's port of the same name,
/// else of the same number, else what this service's port says.
fn target_port(
    world: &World,
    service: &Service,
    port: &ServicePort,
    destination: &Destination,
) -> Port {
    if destination.service == service.name {
        return port.target_port;
    }
    let ports = world.services.get(&destination.service).map_or(&[][..], |other| &other.ports);
    ports
        .iter()
        .find(|other| other.name == port.name)
        .or_else(|| ports.iter().find(|other| other.port == port.port))
        .map_or(port.target_port, |other| other.target_port)
}

/// Brings the weights down to [`WEIGHT_BITS`], keeping their proportions; none becomes 0.
fn scale(found: BTreeMap<(IpAddr, u16), (ObjectName, u128)>) -> Vec<Share> {
    let largest = found.values().map(|(_, weight)| *weight).max().unwrap_or(0);
    let excess = (u128::BITS - largest.leading_zeros()).saturating_sub(WEIGHT_BITS);
    found
        .into_iter()
        .map(|((address, port), (endpoint, weight))| Share {
            endpoint,
            address,
            port,
            weight: u64::try_from(weight >> excess).unwrap_or(u64::MAX).max(1),
        })
        .collect()
}

fn describe(destination: &Destination) -> String {
    match &destination.version {
        Some(version) => format!("{} version {version}", destination.service),
        None => destination.service.to_string(),
    }
}
