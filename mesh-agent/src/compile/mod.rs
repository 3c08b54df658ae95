//! World → image: pure, deterministic, and frugal with change. What the maps already hold keeps
//! its index; what is new takes indices that nothing in the maps uses.
//!
//! `shares` says who gets how much, `ids` gives out indices, this module puts both together.

mod ids;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::model::{
    Kind, Label, LoadBalancer, ObjectName, ObjectRef, OnNoBackend, Protocol, Service,
    ServiceConfig, ServicePort,
};
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::alias;
use mesh_common::service::{
    Algorithm, DEFAULT_REFUSE_ERRNO, ServiceFlags, ServiceHead, ServiceIndex,
};
use mesh_common::slot::Slot;

use self::ids::{Ids, LimitError};
use self::shares::ByService;
use crate::image::MapImage;
use crate::world::World;

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

/// What a compilation starts from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What should be.
    pub world: &'a World,
    /// What the maps hold.
    pub actual: &'a MapImage,
    /// Sizes of the maps.
    pub limits: Limits,
    /// Generation of what is new; higher than any before (seconds on a clock will do).
    pub stamp: u32,
}

/// What a compilation gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What the maps should hold.
    pub image: MapImage,
    /// Whose the indices are.
    pub names: Names,
    /// Services that cannot be programmed; what the maps held of them stays.
    pub rejections: Vec<Rejection>,
    /// What a person should know, though it is served.
    pub warnings: Vec<String>,
}

/// Whose an index is; for metrics and people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Service and port name.
    pub services: BTreeMap<ServiceIndex, (ObjectName, String)>,
    /// Who is counted for a backend's connections.
    pub backends: BTreeMap<BackendIndex, BackendName>,
}

/// Who is counted for a backend's connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendName {
    /// The service that applications connected to.
    pub service: ObjectName,
    /// The endpoint; where several have one address and port, the first by name.
    pub endpoint: ObjectName,
    /// The endpoint's version.
    pub version: Option<Label>,
    /// The endpoint's workload.
    pub workload: Option<Label>,
}

/// A service that cannot be programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The service.
    pub object: ObjectRef,
    /// Why, and what to do.
    pub message: String,
}

/// Compiles the world.
#[must_use]
pub fn compile(input: &Input<'_>) -> Output {
    let mut output = Output::default();
    let wanted = input
        .world
        .services
        .values()
        .flat_map(|service| service.ports.iter().flat_map(|port| keys(service, port)));
    let mut ids = Ids::new(input.actual, input.limits, wanted.collect());
    let endpoints = ByService::new(input.world);
    let mut rejected = Vec::new();
    for service in input.world.services.values() {
        for port in &service.ports {
            if let Err(error) =
                compile_port(input, &endpoints, &mut ids, &mut output, service, port)
            {
                rejected.push((service, port, error));
            }
        }
    }
    // Last, so that what the maps hold under a rejected service's address stays only where no
    // other service is entitled to it.
    for (service, port, error) in rejected {
        keep_actual(input.actual, &mut output.image, service, port);
        let object = ObjectRef { kind: Kind::Service, name: service.name.clone() };
        let message = format!("port {}: {error}", port.port);
        output.rejections.push(Rejection { object, message });
    }
    output
}

/// Why a service port cannot be programmed.
#[derive(Debug, thiserror::Error)]
enum PortError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("{address} is already taken by another service")]
    Taken { address: String },
    #[error("this agent does not serve {what} yet")]
    NotYet { what: &'static str },
}

fn compile_port(
    input: &Input<'_>,
    endpoints: &ByService<'_>,
    ids: &mut Ids<'_>,
    output: &mut Output,
    service: &Service,
    port: &ServicePort,
) -> Result<(), PortError> {
    if let Some(what) = not_yet(service, port, input.world.configs.get(&service.name)) {
        return Err(PortError::NotYet { what });
    }
    let keys: Vec<FrontendKey> = keys(service, port).collect();
    for key in &keys {
        if output.image.frontends.contains_key(key) {
            let address = format!("{}", crate::image::Address(&key.addr, key.port));
            return Err(PortError::Taken { address });
        }
    }
    ids.frontends(&keys)?;

    let index = ids.service(&keys)?;
    let shares = shares::shares(input.world, endpoints, service, port, &mut output.warnings);
    let weights: Vec<u64> = shares.iter().map(|share| share.weight).collect();
    let mut backends = Vec::with_capacity(shares.len());
    for share in &shares {
        let backend = ids.backend(index, share.address, share.port)?;
        backends.push(backend);
    }
    let backend_at = |at: usize| backends.get(at).copied().unwrap_or_default();
    let table: Vec<Slot> = alias::build(&weights)
        .into_iter()
        .map(|entry| Slot {
            service: index,
            backend: backend_at(entry.primary),
            alias: backend_at(entry.alias),
            threshold: entry.threshold,
        })
        .collect();
    let base = ids.slots(index, &table)?;

    // Nothing fails from here on: the port is in the image whole, or not at all.
    for (share, backend) in shares.iter().zip(&backends) {
        let entry = input.actual.backends.get(backend).copied().unwrap_or(Backend {
            addr: ip_key(share.address),
            port: share.port,
            flags: BackendFlags::default(),
            service: index,
            generation: input.stamp,
        });
        output.image.backends.insert(*backend, entry);
        let endpoint = input.world.endpoints.get(&share.endpoint);
        let name = BackendName {
            service: service.name.clone(),
            endpoint: share.endpoint.clone(),
            version: endpoint.and_then(|endpoint| endpoint.version.clone()),
            workload: endpoint.and_then(|endpoint| endpoint.workload.clone()),
        };
        output.names.backends.insert(*backend, name);
    }
    let slot_count = u32::try_from(table.len()).unwrap_or(u32::MAX);
    for (at, slot) in (base..).zip(table) {
        output.image.slots.insert(at, slot);
    }
    let (flags, refuse_errno) = match service.on_no_backend {
        OnNoBackend::Refuse(errno) => (ServiceFlags::default(), errno.number()),
        OnNoBackend::PassThrough => (ServiceFlags::PASS_THROUGH, DEFAULT_REFUSE_ERRNO),
    };
    let mut head = ServiceHead {
        slot_base: base,
        slot_count,
        generation: 0,
        algorithm: Algorithm::ALIAS,
        flags,
        refuse_errno,
        affinity_ms: 0,
    };
    let before = input.actual.services.get(&index);
    head.generation = before.map_or(1, |before| before.generation);
    if before.is_some_and(|before| *before != head) {
        head.generation = head.generation.wrapping_add(1);
    }
    output.image.services.insert(index, head);
    output.names.services.insert(index, (service.name.clone(), port.name.to_string()));
    output.image.frontends.extend(keys.into_iter().map(|key| (key, index)));
    Ok(())
}

/// What a service port needs and the programs do not do.
fn not_yet(
    service: &Service,
    port: &ServicePort,
    config: Option<&ServiceConfig>,
) -> Option<&'static str> {
    if port.protocol == Protocol::Udp {
        Some("UDP")
    } else if service.vips.iter().any(IpAddr::is_ipv6) {
        Some("IPv6")
    } else if service.session_affinity.is_some() {
        Some("sessionAffinity")
    } else if config.is_some_and(|it| it.load_balancer != LoadBalancer::default()) {
        Some("loadBalancer")
    } else {
        None
    }
}

/// As the maps hold it.
const fn ip_key(address: IpAddr) -> IpKey {
    match address {
        IpAddr::V4(address) => IpKey::from_v4(address),
        IpAddr::V6(address) => IpKey { octets: address.octets() },
    }
}

/// Every virtual address with the port.
fn keys(service: &Service, port: &ServicePort) -> impl Iterator<Item = FrontendKey> {
    let (number, proto) = (port.port.get(), port.protocol.number());
    service.vips.iter().map(move |vip| FrontendKey::new(ip_key(*vip), number, proto))
}

/// Carries over what the maps hold of a service port that cannot be programmed anew.
fn keep_actual(actual: &MapImage, image: &mut MapImage, service: &Service, port: &ServicePort) {
    for key in keys(service, port) {
        let Some(index) = actual.frontends.get(&key) else {
            continue;
        };
        if image.frontends.contains_key(&key) {
            continue;
        }
        let Some(head) = actual.services.get(index) else {
            continue;
        };
        image.frontends.insert(key, *index);
        image.services.insert(*index, *head);
        for (at, slot) in (head.slot_base..).zip(actual.table(head)) {
            image.slots.insert(at, *slot);
            for backend in [slot.backend, slot.alias] {
                if let Some(entry) = actual.backends.get(&backend) {
                    image.backends.insert(backend, *entry);
                }
            }
        }
    }
}
