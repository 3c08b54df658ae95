//! Endpoint: wire ⇄ model.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{address, label_text, milliseconds, optional_label};
use crate::model::{Endpoint, EndpointState, Labels, Locality, Name, ObjectName, Port};
use crate::violation::Fields;
use crate::wire;

/// Most port overrides of an endpoint.
const MAX_PORTS: usize = 64;
/// Shortest lease: below it, one lost heartbeat removes a healthy endpoint.
const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest lease.
const MAX_TTL: Duration = Duration::from_hours(24);
/// Highest weight of an endpoint: 2^20.
const MAX_WEIGHT: u32 = 1 << 20;

pub(super) fn from_wire(
    fields: &mut Fields,
    name: ObjectName,
    labels: Labels,
    spec: wire::Endpoint,
) -> Option<Endpoint> {
    let service = fields.check("spec.service", spec.service.parse::<Name>());
    let version = optional_label(fields, "spec.version", &spec.version);
    let address = address::host(fields, "spec.address", &spec.address);
    let ports = ports(fields, &spec.ports);
    let node = optional_label(fields, "spec.node", &spec.node);
    let workload = optional_label(fields, "spec.workload", &spec.workload);
    let locality = spec.locality.unwrap_or_default();
    let locality = Locality {
        region: optional_label(fields, "spec.locality.region", &locality.region),
        zone: optional_label(fields, "spec.locality.zone", &locality.zone),
    };
    let weight = spec.weight.unwrap_or(1);
    if weight > MAX_WEIGHT {
        fields.invalid("spec.weight", format!("{weight} is too high: use 0 to {MAX_WEIGHT}"));
    }
    let state = match wire::EndpointState::try_from(spec.state) {
        Ok(wire::EndpointState::Unspecified | wire::EndpointState::Serving) => {
            EndpointState::Serving
        }
        Ok(wire::EndpointState::Draining) => EndpointState::Draining,
        Err(error) => {
            fields.invalid("spec.state", error.to_string());
            return None;
        }
    };
    let ttl = (spec.ttl_ms != 0).then(|| Duration::from_millis(spec.ttl_ms));
    if ttl.is_some_and(|ttl| !(MIN_TTL..=MAX_TTL).contains(&ttl)) {
        fields.invalid("spec.ttl", "out of range: use 1s to 24h, or leave it out");
    }
    Some(Endpoint {
        service: name.sibling(service?),
        name,
        labels,
        version,
        address: address?,
        ports,
        node,
        workload,
        locality,
        weight,
        state,
        ttl,
    })
}

fn ports(fields: &mut Fields, ports: &BTreeMap<String, u32>) -> BTreeMap<Name, Port> {
    if ports.len() > MAX_PORTS {
        fields.invalid("spec.ports", format!("{} ports: use at most {MAX_PORTS}", ports.len()));
    }
    let mut checked = BTreeMap::new();
    for (name, port) in ports.iter().take(MAX_PORTS) {
        let field = format!("spec.ports.{}", super::shorten(name));
        let name = fields.check(&field, name.parse::<Name>());
        let port = fields.check(&field, Port::try_from(*port));
        if let (Some(name), Some(port)) = (name, port) {
            checked.insert(name, port);
        }
    }
    checked
}

impl From<&Endpoint> for wire::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint {
            name: _,
            labels: _,
            service,
            version,
            address,
            ports,
            node,
            workload,
            locality,
            weight,
            state,
            ttl,
        } = endpoint;
        let state = match state {
            EndpointState::Serving => wire::EndpointState::Serving,
            EndpointState::Draining => wire::EndpointState::Draining,
        };
        let locality = (*locality != Locality::default()).then(|| wire::Locality {
            region: label_text(locality.region.as_ref()),
            zone: label_text(locality.zone.as_ref()),
        });
        Self {
            service: service.name.to_string(),
            version: label_text(version.as_ref()),
            address: address.to_string(),
            ports: ports.iter().map(|(name, port)| (name.to_string(), port.get().into())).collect(),
            node: label_text(node.as_ref()),
            workload: label_text(workload.as_ref()),
            locality,
            weight: Some(*weight),
            state: state.into(),
            ttl_ms: ttl.map_or(0, milliseconds),
        }
    }
}
