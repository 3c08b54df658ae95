//! A service: the virtual addresses that applications connect to.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{Errno, Label, Labels, Name, ObjectName, Port};

/// Virtual addresses and their ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// Free-form labels.
    pub labels: Labels,
    /// Addresses that applications connect to; at least one, each unique in the mesh per port and
    /// protocol. None is IPv4-mapped. An address leads only to endpoints of its family.
    pub vips: Vec<IpAddr>,
    /// At least one, each name and each (port, protocol) once.
    pub ports: Vec<ServicePort>,
    /// What a connection meets when no endpoint can take it.
    pub on_no_backend: OnNoBackend,
    /// Whether the connections of one client go to one endpoint.
    pub session_affinity: Option<SessionAffinity>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// What endpoints and destinations call it.
    pub name: Name,
    /// Where applications connect to.
    pub port: Port,
    /// Where endpoints listen, unless they say otherwise.
    pub target_port: Port,
    /// Transport.
    pub protocol: Protocol,
    /// Hint for layer 7, such as `http` or `grpc`.
    pub app_protocol: Option<Label>,
}

/// How requests are told apart on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestProtocol {
    /// HTTP/1.1; `http`.
    Http,
    /// HTTP/2 without TLS; `http2`, `h2c` or `kubernetes.io/h2c`.
    Http2,
    /// gRPC; `grpc`.
    Grpc,
}

impl ServicePort {
    /// How requests are told apart; `None` where nobody can.
    #[must_use]
    pub fn requests(&self) -> Option<RequestProtocol> {
        if self.protocol != Protocol::Tcp {
            return None;
        }
        match self.app_protocol.as_ref()?.as_str() {
            "http" => Some(RequestProtocol::Http),
            "http2" | "h2c" | "kubernetes.io/h2c" => Some(RequestProtocol::Http2),
            "grpc" => Some(RequestProtocol::Grpc),
            _ => None,
        }
    }
}

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The name used in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a connection meets when a service has no endpoint that can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNoBackend {
    /// `connect()` fails at once, with this error.
    Refuse(Errno),
    /// The connection goes to the virtual address itself, unchanged.
    PassThrough,
}

impl Default for OnNoBackend {
    fn default() -> Self {
        Self::Refuse(Errno::default())
    }
}

/// The connections of one client go to one endpoint, until none came for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAffinity {
    /// What counts as one client.
    pub key: ClientKey,
    /// How long after the client's last connection its endpoint is remembered; 1 s to 7 days.
    pub timeout: Duration,
}

/// What counts as one client. The source address is not chosen yet when a socket connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKey {
    /// The network namespace: an address belongs to one.
    NetworkNamespace,
    /// The cgroup, for workloads that share one network namespace.
    Workload,
}
