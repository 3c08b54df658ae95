//! One kernel service from the world: pure, deterministic, and without indices, which `reconcile`
//! gives out. A kernel service is one port of a service, for its addresses of one family.
//!
//! `shares` says who gets how much, `table` turns shares into slots, `guards` and `timeouts` say
//! what protects the connections, `proxy` has the services that go to the node's Envoy instead.

mod guards;
mod proxy;
mod shares;
mod table;
#[cfg(test)]
mod tests;
pub mod timeouts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mesh_api::model::{
    ClientKey, HashKey, LoadBalancer, ObjectName, ObjectRef, OnNoBackend, Policy, Protocol,
    Service, ServicePort,
};
use mesh_common::addr::IpKey;
use mesh_common::frontend::FrontendKey;
use mesh_common::policy::Policy as Guards;
use mesh_common::service::{Algorithm, DEFAULT_REFUSE_ERRNO, ServiceFlags, ServiceHead};

pub use self::proxy::{Via, Want};
pub use self::shares::Share;
use self::shares::{Apart, Shared};
pub use self::table::{Cell, table};
pub use self::timeouts::Kernel;
use crate::world::{Group, GroupId, Member, World};

/// How many entries each map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of `frontends`.
    pub frontends: u32,
    /// Entries of `services`; index 0 is not given out.
    pub services: u32,
    /// Entries of `slots`.
    pub slots: u32,
    /// Entries of `backends`; index 0 is not given out.
    pub backends: u32,
}

/// A service that cannot be programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The service.
    pub object: ObjectRef,
    /// Why, and what to do.
    pub message: String,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The address at which a network namespace reaches itself.
    pub(crate) const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Names a kernel service as the world does. Ordered by group first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey {
    /// The service.
    pub group: GroupId,
    /// Its port.
    pub port: u16,
    /// The port's protocol.
    pub protocol: Protocol,
    /// The family of the addresses.
    pub family: Family,
}

/// What one kernel service should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who gets how much, by address and port.
    pub shares: Vec<Share>,
    /// The head, without what depends on indices.
    pub head: ServiceHead,
    /// Limits, breakers, outlier detection and timeouts; zero where there are none.
    pub policy: Guards,
    /// What a person should know, though it is served.
    pub warnings: Vec<String>,
}

/// Keys of all kernel services of a service, with the frontends that lead there.
#[must_use]
pub fn units(id: GroupId, group: &Group) -> BTreeMap<UnitKey, Vec<FrontendKey>> {
    let mut units: BTreeMap<UnitKey, Vec<FrontendKey>> = BTreeMap::new();
    let Some(service) = &group.service else { return units };
    for port in &service.ports {
        for vip in &service.vips {
            let (number, protocol) = (port.port.get(), port.protocol);
            let unit = UnitKey { group: id, port: number, protocol, family: Family::of(*vip) };
            let key = FrontendKey::new(IpKey::from_ip(*vip), number, protocol.number());
            let keys = units.entry(unit).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    units
}

/// Where a kernel service comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    world: &'a World,
    group: &'a Group,
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    via: Via,
}

impl<'a> Origin<'a> {
    /// Looks a kernel service up in the world.
    #[must_use]
    pub fn find(world: &'a World, unit: UnitKey) -> Option<Self> {
        let group = world.group(unit.group)?;
        let service = group.service.as_deref()?;
        let of_unit =
            |port: &&ServicePort| port.port.get() == unit.port && port.protocol == unit.protocol;
        let port = service.ports.iter().find(of_unit)?;
        Some(Self { world, group, service, port, family: unit.family, via: Via::default() })
    }

    /// Name of the service.
    #[must_use]
    pub const fn service(&self) -> &'a ObjectName {
        &self.group.name
    }

    /// Place of the port among the service's.
    #[must_use]
    pub fn position(&self) -> usize {
        self.service.ports.iter().position(|port| port == self.port).unwrap_or_default()
    }

    /// How long TCP connections to a removed endpoint may go on.
    #[must_use]
    pub fn drain_timeout(&self) -> Option<std::time::Duration> {
        self.group.config.as_ref().and_then(|config| config.drain_timeout)
    }

    /// Every endpoint that connections may have been sent to, whether or not it takes new ones,
    /// by address and port.
    #[must_use]
    pub fn targets(&self) -> Vec<(IpKey, u16, Arc<Member>)> {
        shares::targets(self)
    }

    /// Compiles it. `ejected` are the addresses and ports of its backends that outlier detection
    /// has ejected.
    ///
    /// Where all that could take connections are ejected, they stay in the table: the programs
    /// skip them, and take them back when their time is over, whether or not there is an agent.
    #[must_use]
    pub fn plan(&self, ejected: &BTreeSet<(IpKey, u16)>, kernel: Kernel) -> Plan {
        match self.via {
            Via::Endpoints | Via::AnyEndpoint => self.plan_endpoints(ejected, kernel),
            Via::Proxy(at) => proxy::to_proxy(self, at),
            Via::Nobody => proxy::to_nobody(self),
        }
    }

    fn plan_endpoints(&self, ejected: &BTreeSet<(IpKey, u16)>, kernel: Kernel) -> Plan {
        let mut warnings = Vec::new();
        let candidates = shares::candidates(self, self.family);
        let (mut policy, flags) = guards::policy(self, candidates, kernel, &mut warnings);
        let nobody = BTreeSet::new();
        let ejected = if policy.outlier.max_ejected == 0 { &nobody } else { ejected };
        let mut shared = shares::shares(self, Apart::These(ejected));
        if shared.shares.is_empty() && !ejected.is_empty() {
            shared = shares::shares(self, Apart::These(&nobody));
        }
        let Shared { shares, panics, warnings: notes } = shared;
        warnings.extend(notes);
        if panics {
            guards::without_ejections(&mut policy);
        }
        let mut head = self.head(&mut warnings);
        head.flags.bits |= flags.bits;
        let other = self.family.other();
        let has_none = shares.is_empty() && candidates == 0;
        if has_none && shares::candidates(self, other) > 0 {
            head.flags.bits |= ServiceFlags::OTHER_FAMILY.bits;
            warnings.push(format!(
                "{self}: its {} addresses have no endpoint, because all endpoints are {}",
                self.family.as_str(),
                other.as_str()
            ));
        }
        Plan { shares, head, policy, warnings }
    }

    fn load_balancer(&self) -> LoadBalancer {
        self.group.config.as_ref().map(|config| config.load_balancer).unwrap_or_default()
    }

    fn head(&self, warnings: &mut Vec<String>) -> ServiceHead {
        let balancer = self.load_balancer();
        let (mut flags, refuse_errno) = match self.service.on_no_backend {
            OnNoBackend::Refuse(errno) => (ServiceFlags::default(), errno.number()),
            OnNoBackend::PassThrough => (ServiceFlags::PASS_THROUGH, DEFAULT_REFUSE_ERRNO),
        };
        let algorithm = match balancer.policy {
            Policy::Random => Algorithm::ALIAS,
            Policy::RoundRobin => Algorithm::ROUND_ROBIN,
            Policy::LeastConnections => Algorithm::LEAST_CONNECTIONS,
            Policy::Maglev => Algorithm::MAGLEV,
        };
        let affinity = self.service.session_affinity;
        let hashed = (balancer.policy == Policy::Maglev).then_some(balancer.hash_key);
        if hashed == Some(HashKey::Connection) {
            flags.bits |= ServiceFlags::KEY_CONNECTION.bits;
        }
        // The programs know one kind of client per service; affinity looks at it first.
        let by_workload = match affinity {
            Some(affinity) => affinity.key == ClientKey::Workload,
            None => hashed == Some(HashKey::Workload),
        };
        if by_workload {
            flags.bits |= ServiceFlags::KEY_WORKLOAD.bits;
        } else if hashed == Some(HashKey::Workload) {
            warnings.push(format!(
                "{self}: session affinity is by network namespace, so Maglev hashes that as well \
                 and not the workload"
            ));
        }
        let timeout = affinity.map(|affinity| affinity.timeout).unwrap_or_default();
        ServiceHead {
            slot_base: 0,
            slot_count: 0,
            generation: 0,
            algorithm,
            flags,
            refuse_errno,
            affinity_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// As warnings name it.
impl std::fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ServicePort { port, protocol, .. } = self.port;
        write!(f, "service {}, port {port}/{protocol}", self.group.name)
    }
}
