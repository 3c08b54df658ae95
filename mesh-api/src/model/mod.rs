//! The validated domain: what control plane and agent compute with. No wire type gets here,
//! and whatever is here has been checked.

mod endpoint;
mod errno;
mod health;
mod load_balancer;
mod locality;
mod names;
mod resilience;
mod routing;
mod service;
mod service_config;

use std::collections::BTreeMap;

pub use endpoint::{Endpoint, EndpointState, Locality};
pub use errno::Errno;
pub use health::{Health, HealthCheck, HttpProbe, Probe};
pub use load_balancer::{
    HashKey, LoadBalancer, LocalityMode, LocalityPolicy, LocalityScope, Policy,
};
pub use locality::{Level, NodeLocality};
pub use names::{Label, Name, NameError, ObjectName, ObjectNameError, Port, PortError};
pub use resilience::{
    Breaker, CircuitBreaker, OutlierDetection, RequestLimits, Retry, Thresholds, Timeouts,
};
pub use routing::{
    Abort, Fault, GrpcMatch, HeaderMatch, HeaderValue, Mirror, PathMatch, PathModifier, Redirect,
    RequestRetries, RequestRule, RetryOn, Rewrite, RouteMatch,
};
pub use service::{
    ClientKey, OnNoBackend, Protocol, RequestProtocol, Service, ServicePort, SessionAffinity,
};
pub use service_config::{Acceleration, Destination, OnNoProxy, ServiceConfig, TrafficRule};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The kinds of objects, in the order in which a table or a batch lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A virtual address and its ports.
    Service,
    /// One instance of a service.
    Endpoint,
    /// How a service's connections are shared out.
    ServiceConfig,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Service, Self::Endpoint, Self::ServiceConfig];

    /// The name used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Endpoint => "Endpoint",
            Self::ServiceConfig => "ServiceConfig",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: ObjectName,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// See [`Service`].
    Service(Service),
    /// See [`Endpoint`].
    Endpoint(Endpoint),
    /// See [`ServiceConfig`].
    ServiceConfig(ServiceConfig),
}

impl Object {
    /// Kind and name.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::Service(service) => (Kind::Service, &service.name),
            Self::Endpoint(endpoint) => (Kind::Endpoint, &endpoint.name),
            Self::ServiceConfig(config) => (Kind::ServiceConfig, &config.name),
        };
        ObjectRef { kind, name: name.clone() }
    }
}
