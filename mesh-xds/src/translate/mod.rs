//! Our model in the words of standard xDS clients: pure functions from services, configurations and
//! endpoints to listeners, routes, clusters and endpoint sets.
//!
//! - [`envoy`]: for a node's Envoy, of services whose configuration is about requests.
//! - [`grpc`]: for gRPC clients without a proxy, of every service with a TCP port.
//!
//! Each has two functions, so that a change encodes little again: `policy` for what follows from a
//! service and its configuration, and `assignments` for the endpoints. The policy depends on
//! endpoints only in what [`vacant`] says: a destination without any endpoint that can take
//! requests leaves its share to the others, as it does in the kernel.
//!
//! Equal input gives equal bytes: lists are sorted, and no map has more than one key.

pub mod envoy;
pub mod grpc;
mod message;
mod pool;
mod routes;
mod shared;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_api::model::{
    Destination, Endpoint, Health, LoadBalancer, NodeLocality, ObjectName, Protocol, Service,
    ServiceConfig, ServicePort,
};

use crate::snapshot::Resource;

/// Type URL of listeners.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// Type URL of route configurations.
pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// Type URL of clusters.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Type URL of endpoint sets.
pub const ASSIGNMENT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// What standard clients subscribe to, in push order: what is referred to comes first.
pub const TYPES: [&str; 4] = [CLUSTER, ASSIGNMENT, LISTENER, ROUTES];

/// A resource with its type and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// One of [`TYPES`].
    pub type_url: &'static str,
    /// Its name in the type.
    pub name: String,
    /// What is sent.
    pub resource: Resource,
}

/// An endpoint, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Whether it can take requests; `None`: nobody knows, and it is taken for healthy.
    pub health: Option<Health>,
}

/// What is looked up: where rules lead.
pub trait Mesh {
    /// A service by its name.
    fn service(&self, name: &ObjectName) -> Option<&Service>;
    /// All endpoints of a service, in any order.
    fn instances(&self, service: &ObjectName) -> Vec<Instance<'_>>;
    /// Where Envoy listens beside the loopback addresses.
    fn proxy_addresses(&self) -> &[IpAddr] {
        &[]
    }
}

/// A service to translate.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Where its rules lead.
    pub mesh: &'a dyn Mesh,
    /// The service.
    pub service: &'a Service,
    /// Its configuration.
    pub config: Option<&'a ServiceConfig>,
    /// Where the client is: it is told of near endpoints only, or first, as the configuration says.
    /// `None`: anywhere, and near and far are alike.
    pub here: Option<&'a NodeLocality>,
}

impl<'a> View<'a> {
    fn balancer(&self) -> LoadBalancer {
        self.config.map(|config| config.load_balancer).unwrap_or_default()
    }

    /// Whether clients in different places are told different things.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.balancer().locality.is_some()
    }

    fn tcp_ports(&self) -> impl Iterator<Item = &'a ServicePort> + use<'a> {
        self.service.ports.iter().filter(|port| port.protocol == Protocol::Tcp)
    }

    /// The whole service: where requests go that no rule says anything about.
    fn whole(&self) -> Destination {
        Destination { service: self.service.name.clone(), version: None }
    }

    /// Wherever its requests may go, copies of them included. Destinations with a share of 0 are
    /// among them, so that connections are there when they get one.
    #[must_use]
    pub fn destinations(&self) -> BTreeSet<Destination> {
        let rules = self.config.map_or(&[][..], |config| &config.traffic_rules);
        let mut found = BTreeSet::new();
        for rule in rules {
            let request = rule.request.as_deref();
            if request.is_none_or(|it| it.redirect.is_none()) {
                found.insert(rule.destination.clone());
            }
            let mirror = request.and_then(|it| it.mirror.as_ref());
            found.extend(mirror.map(|mirror| mirror.destination.clone()));
        }
        if rules.is_empty() {
            found.insert(self.whole());
        }
        found
    }
}

/// Destinations of a service without any endpoint that can take requests.
#[must_use]
pub fn vacant(view: &View<'_>) -> BTreeSet<Destination> {
    let mut known = BTreeMap::new();
    let mut found = view.destinations();
    found.retain(|to| {
        let all =
            known.entry(to.service.clone()).or_insert_with(|| view.mesh.instances(&to.service));
        pool::is_vacant(view, all, to)
    });
    found
}
