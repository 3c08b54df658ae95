//! Service: wire ⇄ model.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Labels, Name, ObjectName, OnNoBackend, Port, Protocol, Service, ServicePort};
use crate::violation::{Fields, Reason};
use crate::wire;

/// Most virtual addresses of a service.
const MAX_VIPS: usize = 16;
/// Most ports of a service.
const MAX_PORTS: usize = 64;

pub(super) fn from_wire(
    fields: &mut Fields,
    name: ObjectName,
    labels: Labels,
    spec: &wire::Service,
) -> Service {
    let on_no_backend = match wire::OnNoBackend::try_from(spec.on_no_backend) {
        Ok(wire::OnNoBackend::Unspecified | wire::OnNoBackend::Refuse) => OnNoBackend::Refuse,
        Ok(wire::OnNoBackend::PassThrough) => OnNoBackend::PassThrough,
        Err(error) => {
            fields.invalid("spec.onNoBackend", error.to_string());
            OnNoBackend::Refuse
        }
    };
    fields.unsupported("spec.sessionAffinity", spec.session_affinity.is_some());
    let vips = vips(fields, &spec.vips);
    let ports = ports(fields, &spec.ports);
    Service { name, labels, vips, ports, on_no_backend }
}

fn vips(fields: &mut Fields, texts: &[String]) -> Vec<Ipv4Addr> {
    if texts.is_empty() || texts.len() > MAX_VIPS {
        fields.invalid("spec.vips", format!("{} addresses: use 1 to {MAX_VIPS}", texts.len()));
    }
    let mut vips = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().take(MAX_VIPS).enumerate() {
        let field = format!("spec.vips[{index}]");
        let Some(vip) = ipv4(fields, &field, text) else {
            continue;
        };
        if vips.contains(&vip) {
            fields.push(Reason::Duplicate, field, format!("{vip} is listed twice"));
        } else {
            vips.push(vip);
        }
    }
    vips
}

/// An address that a connection can be sent to.
pub(super) fn ipv4(fields: &mut Fields, field: &str, text: &str) -> Option<Ipv4Addr> {
    let address = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address,
        Ok(IpAddr::V6(_)) => {
            fields.push(Reason::NotSupported, field, "IPv6 is not supported yet: use IPv4");
            return None;
        }
        Err(_) if text.is_empty() => {
            fields.invalid(field, "required: an IPv4 address");
            return None;
        }
        Err(_) => {
            fields.invalid(field, format!("{:?} is not an IP address", shorten(text)));
            return None;
        }
    };
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        fields.invalid(field, format!("{address} is not the address of one host"));
        return None;
    }
    Some(address)
}

/// Hostile input does not get to fill the error message.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(80).chain(['…']).collect()
}

fn ports(fields: &mut Fields, ports: &[wire::ServicePort]) -> Vec<ServicePort> {
    if ports.is_empty() || ports.len() > MAX_PORTS {
        fields.invalid("spec.ports", format!("{} ports: use 1 to {MAX_PORTS}", ports.len()));
    }
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut checked = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().take(MAX_PORTS).enumerate() {
        let at = format!("spec.ports[{index}]");
        let single = ports.len() == 1 && port.name.is_empty();
        let text = if single { "default" } else { port.name.as_str() };
        let name = fields.check(&format!("{at}.name"), text.parse::<Name>());
        let number = fields.check(&format!("{at}.port"), Port::try_from(port.port));
        let target_port = match port.target_port {
            Some(target) => fields.check(&format!("{at}.targetPort"), Port::try_from(target)),
            None => number,
        };
        let protocol = protocol(fields, &format!("{at}.protocol"), port.protocol);
        let app_protocol =
            super::optional_label(fields, &format!("{at}.appProtocol"), &port.app_protocol);
        let (Some(name), Some(number), Some(target_port), Some(protocol)) =
            (name, number, target_port, protocol)
        else {
            continue;
        };
        if !names.insert(name.clone()) {
            let message = format!("{name:?} is used twice");
            fields.push(Reason::Duplicate, format!("{at}.name"), message);
        }
        if !numbers.insert((number, protocol)) {
            let message = format!("{number} is listed twice");
            fields.push(Reason::Duplicate, format!("{at}.port"), message);
        }
        checked.push(ServicePort { name, port: number, target_port, protocol, app_protocol });
    }
    checked
}

fn protocol(fields: &mut Fields, field: &str, value: i32) -> Option<Protocol> {
    match wire::Protocol::try_from(value) {
        Ok(wire::Protocol::Unspecified | wire::Protocol::Tcp) => Some(Protocol::Tcp),
        Ok(wire::Protocol::Udp) => {
            fields.push(Reason::NotSupported, field, "UDP is not supported yet: use TCP");
            None
        }
        Err(error) => {
            fields.invalid(field, error.to_string());
            None
        }
    }
}

impl From<&Service> for wire::Service {
    fn from(service: &Service) -> Self {
        let Service { name: _, labels: _, vips, ports, on_no_backend } = service;
        let on_no_backend = match on_no_backend {
            OnNoBackend::Refuse => wire::OnNoBackend::Refuse,
            OnNoBackend::PassThrough => wire::OnNoBackend::PassThrough,
        };
        Self {
            vips: vips.iter().map(ToString::to_string).collect(),
            ports: ports.iter().map(Into::into).collect(),
            on_no_backend: on_no_backend.into(),
            session_affinity: None,
        }
    }
}

impl From<&ServicePort> for wire::ServicePort {
    fn from(port: &ServicePort) -> Self {
        let ServicePort { name, port, target_port, protocol, app_protocol } = port;
        let protocol = match protocol {
            Protocol::Tcp => wire::Protocol::Tcp,
        };
        Self {
            name: name.to_string(),
            port: port.get().into(),
            target_port: Some(target_port.get().into()),
            protocol: protocol.into(),
            app_protocol: super::label_text(app_protocol.as_ref()),
        }
    }
}
