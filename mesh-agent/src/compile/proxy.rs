//! Services with rules for requests, which the kernel does not see: the node's Envoy takes the place
//! of their endpoints, and does for them what the kernel does otherwise.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_api::model::{Label, OnNoProxy};
use mesh_common::addr::IpKey;
use mesh_common::policy::{Policy, Thresholds};
use mesh_common::service::{Algorithm, DEFAULT_REFUSE_ERRNO, ServiceFlags, ServiceHead};

use super::{Family, Origin, Plan, Share};
use crate::world::{Level, Member};

/// What a kernel service asks of the node's Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of its addresses.
    pub family: Family,
    /// The port on which Envoy listens for it.
    pub port: u16,
    /// What happens without it.
    pub otherwise: OnNoProxy,
}

/// Where the connections to a kernel service go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// To its endpoints, by the rules that the kernel can follow.
    #[default]
    Endpoints,
    /// The same; but where there is no such rule, any endpoint is better than none.
    AnyEndpoint,
    /// To Envoy, which listens there.
    Proxy(SocketAddr),
    /// They are refused.
    Nobody,
}

/// What stands for Envoy among the endpoints, by its address: always the same, so that it is known
/// again.
static MEMBERS: Mutex<BTreeMap<IpAddr, Arc<Member>>> = Mutex::new(BTreeMap::new());

fn member(address: IpAddr) -> Option<Arc<Member>> {
    let mut members = MEMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(member) = members.get(&address) {
        return Some(Arc::clone(member));
    }
    let (name, workload): (_, Label) = ("proxy".parse().ok()?, "proxy".parse().ok()?);
    let member = Arc::new(Member {
        name,
        version: None,
        workload: Some(workload),
        ports: Box::default(),
        address,
        weight: 1,
        level: Level::Node,
        serving: true,
        health: None,
        is_proxy: true,
    });
    members.insert(address, Arc::clone(&member));
    Some(member)
}

impl Origin<'_> {
    /// What it asks of the node's Envoy; `None` where the kernel can do all that is said about it.
    #[must_use]
    pub fn proxy(&self) -> Option<Want> {
        let config = self.group.config.as_deref().filter(|it| it.is_for_requests())?;
        self.port.requests()?;
        let port = config.proxy_ports.get(&self.port.name)?.get();
        Some(Want { family: self.family, port, otherwise: config.on_no_proxy })
    }

    /// The same with another way for its connections.
    #[must_use]
    pub const fn through(self, via: Via) -> Self {
        Self { via, ..self }
    }
}

/// Everything to Envoy: it checks, ejects, limits and waits for the endpoints. How many connections a
/// service may have is looked at before.
pub(super) fn to_proxy(origin: &Origin<'_>, at: SocketAddr) -> Plan {
    let share =
        |member| Share { addr: IpKey::from_ip(at.ip()), port: at.port(), weight: 1, member };
    let shares = member(at.ip()).map(share).into_iter().collect();
    let breaker = origin.group.config.as_ref().and_then(|config| config.circuit_breaker.as_ref());
    let most = breaker.and_then(|breaker| breaker.service.max_connections).unwrap_or(0);
    let service = Thresholds { max_connections: most, ..Thresholds::default() };
    let policy = Policy { service, ..Policy::default() };
    let mut head = plain(origin);
    if most != 0 {
        head.flags.bits |= ServiceFlags::GUARDED.bits;
    }
    Plan { shares, head, policy, warnings: Vec::new() }
}

/// Nothing to anybody, whatever the service wants to happen without endpoints: those are there.
pub(super) fn to_nobody(origin: &Origin<'_>) -> Plan {
    let mut head = plain(origin);
    head.flags = ServiceFlags::default();
    Plan { shares: Vec::new(), head, policy: Policy::default(), warnings: Vec::new() }
}

/// A head that says what happens without a backend, and nothing else.
fn plain(origin: &Origin<'_>) -> ServiceHead {
    let head = origin.head(&mut Vec::new());
    let passes = head.flags.bits & ServiceFlags::PASS_THROUGH.bits;
    let refuse_errno =
        if head.refuse_errno == 0 { DEFAULT_REFUSE_ERRNO } else { head.refuse_errno };
    ServiceHead {
        flags: ServiceFlags { bits: passes },
        algorithm: Algorithm::ALIAS,
        refuse_errno,
        affinity_ms: 0,
        ..head
    }
}
