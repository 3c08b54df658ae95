//! Resources for a node's Envoy: of each port of a service that speaks HTTP or gRPC, where the
//! service's configuration is about requests and the port has been given one of the loopback's.
//!
//! | resource | name |
//! |---|---|
//! | listener, routes | `namespace/service/port` |
//! | cluster, endpoints: the whole service | `namespace/service/port` |
//! | cluster, endpoints: another destination | `namespace/service/port|namespace/service|version` |
//!
//! Clusters belong to the service whose rules lead there, as its configuration says how endpoints
//! are chosen and guarded.

mod actions;
mod cluster;
mod listener;
mod outlier;
mod route;

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LocalityLbEndpoints, cluster_load_assignment::Policy,
};
use mesh_api::model::{Destination, Label, Port, RequestProtocol, ServicePort};

use super::message::{named, number};
use super::pool::{Place, Pool, Status, pool};
use super::{ASSIGNMENT, CLUSTER, LISTENER, Named, ROUTES, View, shared};

/// A port whose requests go through Envoy.
#[derive(Clone, Copy, Debug)]
struct Proxied<'a> {
    port: &'a ServicePort,
    /// Where Envoy listens on the loopback.
    listener: Port,
    application: RequestProtocol,
}

fn proxied<'a>(view: &View<'a>) -> impl Iterator<Item = Proxied<'a>> + use<'a> {
    let config = view.config.filter(|config| config.is_for_requests());
    view.service.ports.iter().filter_map(move |port| {
        let listener = *config?.proxy_ports.get(&port.name)?;
        Some(Proxied { port, listener, application: port.requests()? })
    })
}

/// Name of a port's listener, of its routes, and of the cluster for the whole service.
#[must_use]
pub fn name(view: &View<'_>, port: &ServicePort) -> String {
    format!("{}/{}", view.service.name, port.name)
}

fn cluster_name(view: &View<'_>, port: &ServicePort, to: &Destination) -> String {
    let base = name(view, port);
    if *to == view.whole() {
        return base;
    }
    // The version comes last: it may contain any character.
    let version = to.version.as_ref().map_or("", Label::as_str);
    format!("{base}|{}|{version}", to.service)
}

/// Ports of the loopback where Envoy listens for a service.
pub fn listeners(view: &View<'_>) -> impl Iterator<Item = Port> {
    proxied(view).map(|proxied| proxied.listener)
}

/// Listeners, routes and clusters of a service; `vacant` is what [`super::vacant`] says.
#[must_use]
pub fn policy(view: &View<'_>, vacant: &BTreeSet<Destination>) -> Vec<Named> {
    let mut found = Vec::new();
    let destinations = view.destinations();
    for proxied in proxied(view) {
        let name = name(view, proxied.port);
        let listener = listener::listener(view, &proxied, &name);
        let routes = route::routes(view, &proxied, &name, vacant);
        found.push(named(LISTENER, name.clone(), &listener));
        found.push(named(ROUTES, name, &routes));
        for to in &destinations {
            let name = cluster_name(view, proxied.port, to);
            let cluster = cluster::cluster(view, &proxied, name.clone());
            found.push(named(CLUSTER, name, &cluster));
        }
    }
    found
}

/// Endpoint sets of a service, of `only` these destinations. Empty ones are among them: a cluster
/// waits for its set.
#[must_use]
pub fn assignments(view: &View<'_>, only: &dyn Fn(&Destination) -> bool) -> Vec<Named> {
    let mut found = Vec::new();
    let mut destinations = view.destinations();
    destinations.retain(only);
    let panic_threshold = view.balancer().panic_threshold;
    for proxied in proxied(view) {
        for to in &destinations {
            let name = cluster_name(view, proxied.port, to);
            let Pool { mut places, .. } = pool(view, proxied.port, to);
            // Envoy counts them with the unhealthy, and sends them requests when it panics. Those
            // that they have go on in either case.
            if panic_threshold > 0 {
                places.retain(|place| place.status != Status::Draining);
            }
            let assignment = ClusterLoadAssignment {
                cluster_name: name.clone(),
                endpoints: localities(&places),
                policy: fail_over(&places),
                ..ClusterLoadAssignment::default()
            };
            found.push(named(ASSIGNMENT, name, &assignment));
        }
    }
    found
}

/// Endpoints by priority and where they are. Those of one priority Envoy takes all alike.
fn localities(places: &[Place]) -> Vec<LocalityLbEndpoints> {
    let mut found: Vec<LocalityLbEndpoints> = Vec::new();
    for place in places {
        let locality = Some(shared::locality(place, String::new()));
        let endpoint = shared::endpoint(place, place.status, place.weight);
        let is_there = |it: &&mut LocalityLbEndpoints| {
            it.locality == locality && it.priority == place.priority
        };
        match found.iter_mut().find(is_there) {
            Some(group) => group.lb_endpoints.push(endpoint),
            None => found.push(LocalityLbEndpoints {
                locality,
                lb_endpoints: vec![endpoint],
                priority: place.priority,
                ..LocalityLbEndpoints::default()
            }),
        }
    }
    found
}

/// Envoy would spread requests to the next priority as soon as less than 72 % of one work; it is to
/// wait until less than 1 % do. `None` where there is only one.
fn fail_over(places: &[Place]) -> Option<Policy> {
    let is_one = places.iter().all(|place| place.priority == 0);
    let policy = Policy { overprovisioning_factor: number(100 * 100), ..Policy::default() };
    (!is_one).then_some(policy)
}
