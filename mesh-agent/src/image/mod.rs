//! What the policy maps hold, or should hold: typed, sorted, comparable, printable.

mod policy;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::frontend::FrontendKey;
use mesh_common::policy::Policy;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

pub use self::table::{Index, Table};

/// Content of the policy maps. Free entries are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    /// `frontends`.
    pub frontends: BTreeMap<FrontendKey, ServiceIndex>,
    /// `services`.
    pub services: Table<ServiceIndex, ServiceHead>,
    /// `policies`: of services that ask for them, and of others until that is cleared.
    pub policies: Table<ServiceIndex, Policy>,
    /// `slots`.
    pub slots: Table<u32, Slot>,
    /// `backends`.
    pub backends: Table<BackendIndex, Backend>,
    /// The switch of acceleration, in `tunables`.
    pub accelerating: bool,
}

impl MapImage {
    /// The slots that a service's head names, in order; short where the last ones are free.
    #[must_use]
    pub fn table(&self, head: &ServiceHead) -> &[Slot] {
        self.slots.range(head.slot_base, head.slot_count)
    }

    /// Adds entries; those that are there already are replaced.
    pub fn merge(&mut self, other: &Self) {
        self.frontends.extend(&other.frontends);
        self.services.merge(&other.services);
        self.policies.merge(&other.policies);
        self.slots.merge(&other.slots);
        self.backends.merge(&other.backends);
        self.accelerating |= other.accelerating;
    }
}

/// One sorted line per entry, as `mesh-agent dump` prints it.
impl fmt::Display for MapImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.accelerating {
            writeln!(f, "ACCELERATION on")?;
        }
        for (key, service) in &self.frontends {
            let proto = if key.proto == 6 { "TCP" } else { "UDP" };
            let addr = Address(&key.addr, key.port);
            writeln!(f, "FRONTEND {addr}/{proto} SERVICE={}", service.index)?;
        }
        for (index, head) in self.services.iter() {
            let no_backend = if head.flags.contains(ServiceFlags::PASS_THROUGH) {
                "pass-through".to_owned()
            } else {
                format!("errno-{}", head.refusal())
            };
            writeln!(
                f,
                "SERVICE {} SLOTS={}+{} ALGORITHM={} NOBACKEND={no_backend}{}",
                index.index,
                head.slot_base,
                head.slot_count,
                head.algorithm.code,
                Extras(head)
            )?;
        }
        for (index, policy) in self.policies.iter() {
            writeln!(f, "POLICY {}{}", index.index, policy::Parts(policy))?;
        }
        for (at, slot) in self.slots.iter() {
            writeln!(
                f,
                "SLOT {at} SERVICE={} BACKEND={} ALIAS={} THRESHOLD={:.6}",
                slot.service.index,
                slot.backend.index,
                slot.alias.index,
                f64::from(slot.threshold) / f64::from(u32::MAX)
            )?;
        }
        for (index, backend) in self.backends.iter() {
            let addr = Address(&backend.addr, backend.port);
            let place = if backend.flags.contains(BackendFlags::LOCAL) { " LOCAL" } else { "" };
            let flags = match backend.flags {
                flags if !flags.keeps_old() => " REMOVED",
                flags if !flags.takes_new() => " DRAINING",
                _ => "",
            };
            let proxy = if backend.flags.contains(BackendFlags::PROXY) { " PROXY" } else { "" };
            let service = backend.service.index;
            writeln!(f, "BACKEND {} {addr} SERVICE={service}{place}{proxy}{flags}", index.index)?;
        }
        Ok(())
    }
}

/// What a policy asks for, as ` KEY=VALUE` each.
#[must_use]
pub fn policy_parts(policy: &Policy) -> String {
    policy::Parts(policy).to_string()
}

/// What few services have.
struct Extras<'a>(&'a ServiceHead);

impl fmt::Display for Extras<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(head) = self;
        if head.affinity_ms != 0 {
            write!(f, " AFFINITY={}ms", head.affinity_ms)?;
        }
        for (flag, name) in [
            (ServiceFlags::KEY_WORKLOAD, " KEY=workload"),
            (ServiceFlags::KEY_CONNECTION, " KEY=connection"),
            (ServiceFlags::OTHER_FAMILY, " OTHER-FAMILY"),
            (ServiceFlags::GUARDED, " GUARDED"),
            (ServiceFlags::TIMED, " TIMED"),
            (ServiceFlags::ACCELERATED, " ACCELERATED"),
            (ServiceFlags::AUTO, " AUTO"),
        ] {
            if head.flags.contains(flag) {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

/// `address:port`, as people write it.
pub struct Address<'a>(pub &'a IpKey, pub u16);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.0.to_ip(), self.1).fmt(f)
    }
}
