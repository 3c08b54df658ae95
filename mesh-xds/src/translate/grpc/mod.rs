//! Resources for gRPC clients without a proxy (gRFCs A27, A28, A33, A42, A44, A50, A63): of every
//! TCP port of every service.
//!
//! | resource | name |
//! |---|---|
//! | listener | `service.namespace`, `service.namespace:port`, `service.namespace:80` |
//! | routes | `service.namespace:port` |
//! | cluster, endpoints: the whole service | `service.namespace:port` |
//! | cluster, endpoints: another destination | `service.namespace:port|service.namespace|version` |
//!
//! So `xds:///service.namespace` is the first port that speaks gRPC or HTTP/2, else the first one.
//! What gRPC would ignore or refuse is not sent; the capability matrix has it.

mod assignment;
mod cluster;
mod route;

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::model::{Destination, Label, ObjectName, Policy, RequestProtocol, ServicePort};

use super::message::{any, named};
use super::pool::pool;
use super::{ASSIGNMENT, CLUSTER, LISTENER, Named, ROUTES, View, shared};

/// What a client is built on. All are told the same but for timeouts of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// gRPC's C-core, below the clients of C++, Python, Ruby, PHP and Objective-C: whose timeouts are
    /// over too early, by one to two seconds. It is told two seconds more.
    Core,
    /// Go, Java, Node.
    Other,
}

fn host(name: &ObjectName) -> String {
    format!("{}.{}", name.name, name.namespace)
}

/// Name of a port's routes, of one of its listeners, and of the cluster for the whole service.
#[must_use]
pub fn name(view: &View<'_>, port: &ServicePort) -> String {
    format!("{}:{}", host(&view.service.name), port.name)
}

fn cluster_name(view: &View<'_>, port: &ServicePort, to: &Destination) -> String {
    let base = name(view, port);
    if *to == view.whole() {
        return base;
    }
    // The version comes last: it may contain any character.
    let version = to.version.as_ref().map_or("", Label::as_str);
    format!("{base}|{}|{version}", host(&to.service))
}

/// Whether all requests of a client go to one endpoint.
fn is_hashed(view: &View<'_>) -> bool {
    view.balancer().policy == Policy::Maglev || view.service.session_affinity.is_some()
}

/// Listeners, routes and clusters of a service; `vacant` is what [`super::vacant`] says. Routes are
/// those for [`Library::Other`].
#[must_use]
pub fn policy(view: &View<'_>, vacant: &BTreeSet<Destination>) -> Vec<Named> {
    let mut found = routes(view, vacant, Library::Other);
    let destinations = view.destinations();
    let speaks_grpc = |port: &&ServicePort| {
        matches!(port.requests(), Some(RequestProtocol::Grpc | RequestProtocol::Http2))
    };
    let usual = view.tcp_ports().find(speaks_grpc).or_else(|| view.tcp_ports().next());
    for port in view.tcp_ports() {
        let name = name(view, port);
        let by_number = format!("{}:{}", host(&view.service.name), port.port);
        let mut listeners = BTreeSet::from([name.clone(), by_number]);
        if Some(port) == usual {
            listeners.insert(host(&view.service.name));
        }
        for listener in listeners {
            let message = self::listener(listener.clone(), &name);
            found.push(named(LISTENER, listener, &message));
        }
        for to in &destinations {
            let name = cluster_name(view, port, to);
            let cluster = cluster::cluster(view, name.clone());
            found.push(named(CLUSTER, name, &cluster));
        }
    }
    found
}

/// A service's routes as [`policy`] has them, for clients built on this library.
#[must_use]
pub fn routes(view: &View<'_>, vacant: &BTreeSet<Destination>, library: Library) -> Vec<Named> {
    let routes = |port| {
        let routes = route::routes(view, port, vacant, library);
        named(ROUTES, routes.name.clone(), &routes)
    };
    view.tcp_ports().map(routes).collect()
}

/// Endpoint sets of a service, of `only` these destinations. Empty ones are among them: a cluster
/// waits for its set.
#[must_use]
pub fn assignments(view: &View<'_>, only: &dyn Fn(&Destination) -> bool) -> Vec<Named> {
    let mut found = Vec::new();
    let mut destinations = view.destinations();
    destinations.retain(only);
    let hashed = is_hashed(view);
    for port in view.tcp_ports() {
        for to in &destinations {
            let name = cluster_name(view, port, to);
            let assignment = assignment::assignment(&name, pool(view, port, to), hashed);
            found.push(named(ASSIGNMENT, name, &assignment));
        }
    }
    found
}

fn listener(name: String, routes: &str) -> Listener {
    let manager = HttpConnectionManager {
        http_filters: shared::filters(&Router::default()),
        route_specifier: Some(shared::rds(routes)),
        ..HttpConnectionManager::default()
    };
    Listener {
        name,
        api_listener: Some(ApiListener { api_listener: Some(any(&manager)) }),
        ..Listener::default()
    }
}
