//! A service: the virtual addresses that applications connect to.

use std::net::Ipv4Addr;

use super::{Label, Labels, Name, ObjectName, Port};

/// A virtual address and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// Free-form labels.
    pub labels: Labels,
    /// Addresses that applications connect to; at least one, each unique in the mesh per port.
    pub vips: Vec<Ipv4Addr>,
    /// At least one, each name and each (port, protocol) once.
    pub ports: Vec<ServicePort>,
    /// What a connection meets when no endpoint can take it.
    pub on_no_backend: OnNoBackend,
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

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
}

impl Protocol {
    /// The IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
        }
    }
}

/// What a connection meets when a service has no endpoint that can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNoBackend {
    /// `connect()` fails at once.
    Refuse,
    /// The connection goes to the virtual address itself, unchanged.
    PassThrough,
}
