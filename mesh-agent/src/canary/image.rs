//! The canary's entries in the policy maps. They lie beyond what users may have, at fixed
//! indices, so that the compiler need not know of them and they take no room from anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::canary;
use mesh_common::frontend::FrontendKey;
use mesh_common::names;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

use super::{Family, PortPair, Ports};
use crate::compile::Limits;
use crate::image::MapImage;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// How many entries of a map the canary needs, beside those that users may have.
#[must_use]
pub fn room(map: &str) -> u32 {
    match map {
        names::FRONTENDS
        | names::SERVICES
        | names::SERVICE_STATE
        | names::POLICIES
        | names::SERVICE_GUARDS
        | names::SERVICE_COUNTERS => canary::SERVICES,
        names::SLOTS
        | names::BACKENDS
        | names::BACKEND_STATE
        | names::BACKEND_GUARDS
        | names::BACKEND_COUNTERS => canary::BACKENDS,
        _ => 0,
    }
}

/// What users may have in maps of these sizes.
#[must_use]
pub const fn without_room(sizes: Limits) -> Limits {
    Limits {
        frontends: sizes.frontends.saturating_sub(canary::SERVICES),
        services: sizes.services.saturating_sub(canary::SERVICES),
        slots: sizes.slots.saturating_sub(canary::BACKENDS),
        backends: sizes.backends.saturating_sub(canary::BACKENDS),
    }
}

/// Place of a family's backends behind the users'.
const fn offset(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// Index of the backend of a family's TCP service.
#[must_use]
pub(super) const fn tcp_backend(limits: Limits, family: Family) -> BackendIndex {
    BackendIndex { index: limits.backends + offset(family) * 2 }
}

/// Index of the backend of a family's UDP service.
#[must_use]
pub(super) const fn udp_backend(limits: Limits, family: Family) -> BackendIndex {
    BackendIndex { index: limits.backends + offset(family) * 2 + 1 }
}

/// The address that the child connects to.
#[must_use]
pub(super) const fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(canary::V4),
        Family::V6 => IpAddr::V6(canary::V6),
    }
}

/// Where the agent listens.
#[must_use]
pub(super) const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The entries: of each family that the agent listens on, a TCP and a UDP service with one
/// backend, and a TCP service with none. `limits` are those of users.
#[must_use]
pub fn image(limits: Limits, ports: &Ports, stamp: u32) -> MapImage {
    let mut image = MapImage::default();
    for family in Family::ALL {
        let Some((tcp, udp)) = ports.of(family) else { continue };
        let first = limits.services + offset(family) * 3;
        let key = |port, proto| FrontendKey::new(IpKey::from_ip(vip(family)), port, proto);
        let served = [
            (first, key(canary::PORT, TCP), tcp_backend(limits, family), tcp),
            (first + 1, key(canary::PORT, UDP), udp_backend(limits, family), udp),
        ];
        for (index, key, backend, port) in served {
            let service = ServiceIndex { index };
            let slot = limits.slots + backend.index - limits.backends;
            image.frontends.insert(key, service);
            image.services.insert(service, ServiceHead { slot_count: 1, ..head(slot) });
            let threshold = u32::MAX;
            image.slots.insert(slot, Slot { service, backend, alias: backend, threshold });
            let entry = Backend {
                addr: IpKey::from_ip(loopback(family)),
                port,
                flags: BackendFlags::default(),
                service,
                generation: stamp,
            };
            image.backends.insert(backend, entry);
        }
        let refusing = ServiceIndex { index: first + 2 };
        image.frontends.insert(key(canary::REFUSING_PORT, TCP), refusing);
        image.services.insert(refusing, head(0));
    }
    image
}

/// Ports of the listeners that the maps lead to, by family.
pub fn ports_in(image: &MapImage, limits: Limits) -> impl Fn(Family) -> Option<PortPair> {
    move |family| {
        let port = |index| image.backends.get(&index).map(|backend| backend.port);
        Some((port(tcp_backend(limits, family))?, port(udp_backend(limits, family))?))
    }
}

const fn head(slot_base: u32) -> ServiceHead {
    ServiceHead {
        slot_base,
        slot_count: 0,
        generation: 1,
        algorithm: Algorithm::ALIAS,
        flags: ServiceFlags::CANARY,
        refuse_errno: canary::REFUSAL,
        affinity_ms: 0,
    }
}

/// Takes the canary's entries out of what was read from the maps: for people, and for maps of
/// another size, where they lie elsewhere.
pub fn strip(image: &mut MapImage) {
    let ours = |head: &ServiceHead| head.flags.contains(ServiceFlags::CANARY);
    // The canary has no policies.
    let MapImage { frontends, services, slots, backends, .. } = image;
    let is_ours = |service: &ServiceIndex| services.get(service).is_some_and(ours);
    frontends.retain(|_, service| !is_ours(service));
    slots.retain(|_, slot| !is_ours(&slot.service));
    backends.retain(|_, backend| !is_ours(&backend.service));
    services.retain(|_, head| !ours(head));
}
