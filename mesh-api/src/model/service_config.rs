//! How the connections of one service are shared out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    CircuitBreaker, HealthCheck, Label, Labels, LoadBalancer, Name, ObjectName, OutlierDetection,
    Port, RequestRule, Timeouts,
};

/// Configuration of the service of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Namespace and name of the service.
    pub name: ObjectName,
    /// Free-form labels.
    pub labels: Labels,
    /// Shares of the connections; empty means all endpoints of the service by their weights.
    /// The sum of the weights is at least 1 and fits `u32`.
    pub traffic_rules: Vec<TrafficRule>,
    /// How an endpoint is chosen within the shares.
    pub load_balancer: LoadBalancer,
    /// How long TCP connections to a removed endpoint may go on, up to 24 hours; `None` leaves
    /// them to end on their own.
    pub drain_timeout: Option<Duration>,
    /// Limits and breakers. This and the next are boxed because few configurations have them.
    pub circuit_breaker: Option<Box<CircuitBreaker>>,
    /// When endpoints are ejected; `None`: never.
    pub outlier_detection: Option<Box<OutlierDetection>>,
    /// How endpoints are checked; `None`: not at all.
    pub health_check: Option<Box<HealthCheck>>,
    /// What sockets are told.
    pub timeouts: Option<Box<Timeouts>>,
    /// Whether data between two sockets of one node skips the network stack; for TCP.
    pub acceleration: Acceleration,
    /// What a client meets where the service has rules for requests and its node no ready Envoy.
    pub on_no_proxy: OnNoProxy,
    /// Ports of a node's loopback where its Envoy listens for the service, by the name of the
    /// service's port; allotted by the control plane.
    pub proxy_ports: BTreeMap<Name, Port>,
}

impl ServiceConfig {
    /// Whether anything in it is about requests, which the kernel does not see.
    #[must_use]
    pub fn is_for_requests(&self) -> bool {
        self.traffic_rules.iter().any(|rule| rule.request.is_some())
            || self.timeouts.as_ref().is_some_and(|it| it.request.is_some())
            || self.circuit_breaker.as_ref().is_some_and(|it| it.requests.is_some())
            || self.outlier_detection.as_ref().is_some_and(|it| it.looks_at_answers())
    }

    /// All that its rules send something to, copies included.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.traffic_rules.iter().flat_map(|rule| {
            let mirror = rule.request.as_ref().and_then(|request| request.mirror.as_ref());
            mirror.map(|mirror| &mirror.destination).into_iter().chain([&rule.destination])
        })
    }

    /// The rules for what no match says anything about: all that the kernel can follow.
    pub fn rules_of_connections(&self) -> impl Iterator<Item = &TrafficRule> {
        self.traffic_rules.iter().filter(|rule| rule.is_of_connections())
    }
}

/// What a client meets where requests need an Envoy and its node has none that is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnNoProxy {
    /// The kernel shares connections out, by the rules without a match.
    #[default]
    Bypass,
    /// `connect()` fails.
    Refuse,
}

/// Whether data between a client and an endpoint of the same node skips the network stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acceleration {
    /// It does not.
    #[default]
    Off,
    /// It does, where the node can do that.
    On,
    /// It does for clients of which the node has seen that they and the endpoints can bear it.
    Auto,
}

/// One share of the connections, or of the requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRule {
    /// Where they go; the service itself where the rule redirects.
    pub destination: Destination,
    /// The share, relative to the sum over all rules with the same match.
    pub weight: u32,
    /// What it says about requests. Boxed because few rules do.
    pub request: Option<Box<RequestRule>>,
}

impl TrafficRule {
    /// Which requests are meant; `None`: those that no other rule matches.
    #[must_use]
    pub fn matches(&self) -> Option<&super::RouteMatch> {
        self.request.as_ref().and_then(|request| request.matches.as_ref())
    }

    /// Whether the kernel can follow it: it is a share of all connections.
    #[must_use]
    pub fn is_of_connections(&self) -> bool {
        self.request.as_ref().is_none_or(|it| it.matches.is_none() && it.redirect.is_none())
    }
}

/// A set of endpoints: of a service, all or one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The service whose endpoints are meant.
    pub service: ObjectName,
    /// Only endpoints of this version; `None` means all.
    pub version: Option<Label>,
}
