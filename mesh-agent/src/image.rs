//! What the policy maps hold, or should hold: typed, sorted, comparable, printable.

use std::collections::BTreeMap;
use std::fmt;

use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::frontend::FrontendKey;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

/// Content of the policy maps. Free entries are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    /// `frontends`.
    pub frontends: BTreeMap<FrontendKey, ServiceIndex>,
    /// `services`.
    pub services: BTreeMap<ServiceIndex, ServiceHead>,
    /// `slots`.
    pub slots: BTreeMap<u32, Slot>,
    /// `backends`.
    pub backends: BTreeMap<BackendIndex, Backend>,
}

impl MapImage {
    /// The slots that a service's head names, in order; those that are missing are left out.
    pub fn table(&self, head: &ServiceHead) -> impl Iterator<Item = &Slot> {
        let end = head.slot_base.saturating_add(head.slot_count);
        self.slots.range(head.slot_base..end).map(|(_, slot)| slot)
    }

    /// Adds entries; those that are there already are replaced.
    pub fn merge(&mut self, other: &Self) {
        self.frontends.extend(&other.frontends);
        self.services.extend(&other.services);
        self.slots.extend(&other.slots);
        self.backends.extend(&other.backends);
    }
}

/// One sorted line per entry, as `mesh-agent dump` prints it.
impl fmt::Display for MapImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, service) in &self.frontends {
            let proto = if key.proto == 6 { "TCP" } else { "UDP" };
            let addr = Address(&key.addr, key.port);
            writeln!(f, "FRONTEND {addr}/{proto} SERVICE={}", service.index)?;
        }
        for (index, head) in &self.services {
            let no_backend = if head.flags.contains(ServiceFlags::PASS_THROUGH) {
                "pass-through".to_owned()
            } else {
                format!("errno-{}", head.refusal())
            };
            writeln!(
                f,
                "SERVICE {} SLOTS={}+{} ALGORITHM={} NOBACKEND={no_backend}",
                index.index, head.slot_base, head.slot_count, head.algorithm.code
            )?;
        }
        for (at, slot) in &self.slots {
            writeln!(
                f,
                "SLOT {at} SERVICE={} BACKEND={} ALIAS={} THRESHOLD={:.6}",
                slot.service.index,
                slot.backend.index,
                slot.alias.index,
                f64::from(slot.threshold) / f64::from(u32::MAX)
            )?;
        }
        for (index, backend) in &self.backends {
            let addr = Address(&backend.addr, backend.port);
            writeln!(f, "BACKEND {} {addr} SERVICE={}", index.index, backend.service.index)?;
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
