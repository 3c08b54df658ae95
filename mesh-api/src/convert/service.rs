//! Service: wire ⇄ model.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{address, milliseconds};
use crate::model::{
    ClientKey, Errno, Labels, Name, ObjectName, OnNoBackend, Port, Protocol, Service, ServicePort,
    SessionAffinity,
};
use crate::violation::{Fields, Reason};
use crate::wire;

/// Most virtual addresses of a service.
const MAX_VIPS: usize = 16;
/// Most ports of a service.
const MAX_PORTS: usize = 64;
/// How long an endpoint is remembered where nothing else is said, as in Kubernetes.
const DEFAULT_AFFINITY: Duration = Duration::from_hours(3);
/// Shortest and longest affinity.
const AFFINITY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);

pub(super) fn from_wire(
    fields: &mut Fields,
    name: ObjectName,
    labels: Labels,
    spec: &wire::Service,
) -> Service {
    let vips = vips(fields, &spec.vips);
    let ports = ports(fields, &spec.ports);
    let on_no_backend = on_no_backend(fields, spec);
    let affinity = spec.session_affinity.as_ref();
    let session_affinity = affinity.and_then(|spec| session_affinity(fields, spec));
    Service { name, labels, vips, ports, on_no_backend, session_affinity }
}

fn on_no_backend(fields: &mut Fields, spec: &wire::Service) -> OnNoBackend {
    let errno = match wire::RefuseErrno::try_from(spec.refuse_errno) {
        Ok(errno) => errno,
        Err(error) => {
            fields.invalid("spec.refuseErrno", error.to_string());
            wire::RefuseErrno::Unspecified
        }
    };
    match wire::OnNoBackend::try_from(spec.on_no_backend) {
        Ok(wire::OnNoBackend::Unspecified | wire::OnNoBackend::Refuse) => {
            OnNoBackend::Refuse(errno.to_model())
        }
        Ok(wire::OnNoBackend::PassThrough) => {
            if errno != wire::RefuseErrno::Unspecified {
                let message =
                    "nothing is refused with onNoBackend: PassThrough: remove one of them";
                fields.invalid("spec.refuseErrno", message);
            }
            OnNoBackend::PassThrough
        }
        Err(error) => {
            fields.invalid("spec.onNoBackend", error.to_string());
            OnNoBackend::default()
        }
    }
}

fn session_affinity(fields: &mut Fields, spec: &wire::SessionAffinity) -> Option<SessionAffinity> {
    let key = match wire::ClientKey::try_from(spec.key) {
        Ok(wire::ClientKey::Unspecified) if spec.client_ip => Some(ClientKey::NetworkNamespace),
        Ok(wire::ClientKey::Unspecified) => {
            let message = "required: clientIP: true, key: NetworkNamespace or key: Workload";
            fields.invalid("spec.sessionAffinity", message);
            None
        }
        Ok(_) if spec.client_ip => {
            let message = "clientIP: true means key: NetworkNamespace: remove one of them";
            fields.invalid("spec.sessionAffinity.key", message);
            None
        }
        Ok(wire::ClientKey::NetworkNamespace) => Some(ClientKey::NetworkNamespace),
        Ok(wire::ClientKey::Workload) => Some(ClientKey::Workload),
        Err(error) => {
            fields.invalid("spec.sessionAffinity.key", error.to_string());
            None
        }
    };
    let timeout = spec.timeout_ms.map_or(DEFAULT_AFFINITY, Duration::from_millis);
    if !AFFINITY.contains(&timeout) {
        let message = "out of range: use 1s to 168h, or leave it out for 3h";
        fields.invalid("spec.sessionAffinity.timeout", message);
    }
    Some(SessionAffinity { key: key?, timeout })
}

fn vips(fields: &mut Fields, texts: &[String]) -> Vec<IpAddr> {
    if texts.is_empty() || texts.len() > MAX_VIPS {
        fields.invalid("spec.vips", format!("{} addresses: use 1 to {MAX_VIPS}", texts.len()));
    }
    let mut vips = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().take(MAX_VIPS).enumerate() {
        let field = format!("spec.vips[{index}]");
        let Some(vip) = address::virtual_address(fields, &field, text) else {
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
            let message = format!("{number}/{protocol} is listed twice");
            fields.push(Reason::Duplicate, format!("{at}.port"), message);
        }
        checked.push(ServicePort { name, port: number, target_port, protocol, app_protocol });
    }
    checked
}

fn protocol(fields: &mut Fields, field: &str, value: i32) -> Option<Protocol> {
    match wire::Protocol::try_from(value) {
        Ok(wire::Protocol::Unspecified | wire::Protocol::Tcp) => Some(Protocol::Tcp),
        Ok(wire::Protocol::Udp) => Some(Protocol::Udp),
        Err(error) => {
            fields.invalid(field, error.to_string());
            None
        }
    }
}

impl From<&Service> for wire::Service {
    fn from(service: &Service) -> Self {
        let Service { name: _, labels: _, vips, ports, on_no_backend, session_affinity } = service;
        let (on_no_backend, refuse_errno) = match on_no_backend {
            OnNoBackend::Refuse(errno) => (wire::OnNoBackend::Refuse, Some(*errno)),
            OnNoBackend::PassThrough => (wire::OnNoBackend::PassThrough, None),
        };
        let refuse_errno = refuse_errno
            .filter(|errno| *errno != Errno::default())
            .map_or(wire::RefuseErrno::Unspecified, Into::into);
        Self {
            vips: vips.iter().map(ToString::to_string).collect(),
            ports: ports.iter().map(Into::into).collect(),
            on_no_backend: on_no_backend.into(),
            refuse_errno: refuse_errno.into(),
            session_affinity: session_affinity.as_ref().map(Into::into),
        }
    }
}

impl From<&ServicePort> for wire::ServicePort {
    fn from(port: &ServicePort) -> Self {
        let ServicePort { name, port, target_port, protocol, app_protocol } = port;
        let protocol = match protocol {
            Protocol::Tcp => wire::Protocol::Tcp,
            Protocol::Udp => wire::Protocol::Udp,
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

impl From<&SessionAffinity> for wire::SessionAffinity {
    fn from(affinity: &SessionAffinity) -> Self {
        let SessionAffinity { key, timeout } = affinity;
        let (client_ip, key) = match key {
            ClientKey::NetworkNamespace => (true, wire::ClientKey::Unspecified),
            ClientKey::Workload => (false, wire::ClientKey::Workload),
        };
        Self { client_ip, timeout_ms: Some(milliseconds(*timeout)), key: key.into() }
    }
}

impl wire::RefuseErrno {
    /// The model's error; the default where unspecified.
    #[must_use]
    pub const fn to_model(self) -> Errno {
        match self {
            Self::Unspecified | Self::Ehostunreach => Errno::HostUnreachable,
            Self::Econnrefused => Errno::ConnectionRefused,
            Self::Enetunreach => Errno::NetworkUnreachable,
            Self::Eacces => Errno::AccessDenied,
            Self::Eperm => Errno::NotPermitted,
            Self::Etimedout => Errno::TimedOut,
            Self::Econnreset => Errno::ConnectionReset,
            Self::Eagain => Errno::TryAgain,
        }
    }
}

impl From<Errno> for wire::RefuseErrno {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::HostUnreachable => Self::Ehostunreach,
            Errno::ConnectionRefused => Self::Econnrefused,
            Errno::NetworkUnreachable => Self::Enetunreach,
            Errno::AccessDenied => Self::Eacces,
            Errno::NotPermitted => Self::Eperm,
            Errno::TimedOut => Self::Etimedout,
            Errno::ConnectionReset => Self::Econnreset,
            Errno::TryAgain => Self::Eagain,
        }
    }
}
