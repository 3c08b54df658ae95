//! How the connections of one service are shared out.

use std::time::Duration;

use super::{
    CircuitBreaker, HealthCheck, Label, Labels, LoadBalancer, ObjectName, OutlierDetection,
    Timeouts,
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

/// One share of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRule {
    /// Where they go.
    pub destination: Destination,
    /// The share, relative to the sum over all rules.
    pub weight: u32,
}

/// A set of endpoints: of a service, all or one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The service whose endpoints are meant.
    pub service: ObjectName,
    /// Only endpoints of this version; `None` means all.
    pub version: Option<Label>,
}
