//! An endpoint: one instance of a service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Label, Labels, Name, ObjectName, Port};

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Namespace and name.
    pub name: ObjectName,
    /// Free-form labels.
    pub labels: Labels,
    /// The service, in the same namespace. It may be created later than its endpoints.
    pub service: ObjectName,
    /// Which version of the service it runs; traffic rules select by it.
    pub version: Option<Label>,
    /// Where it listens; never IPv4-mapped.
    pub address: IpAddr,
    /// Its port by the service's port name, where it differs from `targetPort`.
    pub ports: BTreeMap<Name, Port>,
    /// The node it runs on.
    pub node: Option<Label>,
    /// What runs it (a unit, a container, a pod).
    pub workload: Option<Label>,
    /// Where it is.
    pub locality: Locality,
    /// Share among the endpoints of its version; 0 means no new connections.
    pub weight: u32,
    /// Whether it takes new connections.
    pub state: EndpointState,
    /// Lease: it is removed when no heartbeat came for so long. `None` is permanent.
    pub ttl: Option<Duration>,
}

/// Region and zone, both optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// For example `eu-central`.
    pub region: Option<Label>,
    /// For example `eu-central-1a`.
    pub zone: Option<Label>,
}

/// Whether an endpoint takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It does.
    Serving,
    /// It does not; the ones it has go on.
    Draining,
}
