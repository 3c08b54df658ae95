//! Objects as table rows and as manifests.

use mesh_api::manifest::duration::format_duration;
use mesh_api::manifest::{API_VERSION, Manifest, to_yaml};
use mesh_api::model::Kind;
use mesh_api::wire;
use serde::Serialize;
use std::time::Duration;

use super::requests;
use super::{Format, resilience, settings};
use crate::failure::Failure;

/// Which columns a table of objects has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) kind: Kind,
    /// Objects of all namespaces.
    pub(crate) namespaces: bool,
    pub(crate) wide: bool,
}

/// What a wide table of configs has more.
const CONFIG_WIDE: [&str; 6] =
    ["LOCALITY", "DRAIN-TIMEOUT", "HEALTH-CHECK", "BREAKER", "OUTLIER", "TIMEOUTS"];

impl Columns {
    pub(crate) fn of(kind: Kind, namespaces: bool, format: Format) -> Self {
        Self { kind, namespaces, wide: format == Format::Wide }
    }

    /// The heading.
    pub(crate) fn heading(self) -> Vec<&'static str> {
        let (normal, more): (&[_], &[_]) = match self.kind {
            Kind::Service => (&["VIPS", "PORTS"], &["NO-BACKEND", "AFFINITY"]),
            Kind::Endpoint => (
                &["SERVICE", "VERSION", "ADDRESS", "STATE", "WEIGHT"],
                &["TTL", "PORTS", "NODE", "WORKLOAD", "REGION", "ZONE"],
            ),
            Kind::ServiceConfig => (&["RULES", "POLICY"], &CONFIG_WIDE),
        };
        let mut heading = Vec::new();
        if self.namespaces {
            heading.push("NAMESPACE");
        }
        heading.push("NAME");
        heading.extend(normal);
        if self.wide {
            heading.extend(more);
        }
        heading.push("REVISION");
        if self.wide {
            heading.push("LABELS");
        }
        heading
    }

    /// The row of an object.
    pub(crate) fn row(self, object: &wire::Object) -> Vec<String> {
        let none = wire::Metadata::default();
        let metadata = object.metadata.as_ref().unwrap_or(&none);
        let (normal, more) = match &object.spec {
            Some(wire::object::Spec::Service(spec)) => service(spec),
            Some(wire::object::Spec::Endpoint(spec)) => endpoint(spec),
            Some(wire::object::Spec::ServiceConfig(spec)) => {
                let mut more = vec![settings::locality(spec), settings::drain_timeout(spec)];
                if self.wide {
                    more.extend(resilience::cells(resilience::config(object).as_ref()));
                }
                (vec![rules(spec), settings::policy(spec)], more)
            }
            None => (vec![], vec![]),
        };
        let mut row = Vec::new();
        if self.namespaces {
            row.push(metadata.namespace.clone());
        }
        row.push(metadata.name.clone());
        row.extend(normal);
        if self.wide {
            row.extend(more);
        }
        row.push(metadata.resource_version.to_string());
        if self.wide {
            row.push(labels(metadata));
        }
        row
    }
}

/// Labels as `key=value,…`.
pub(crate) fn labels(metadata: &wire::Metadata) -> String {
    let labels = metadata.labels.iter();
    let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(",")
}

fn service(spec: &wire::Service) -> (Vec<String>, Vec<String>) {
    let ports: Vec<_> = spec.ports.iter().map(port).collect();
    (
        vec![spec.vips.join(","), ports.join(",")],
        vec![settings::no_backend(spec), settings::affinity(spec)],
    )
}

/// A port as `80->8080/TCP`.
pub(crate) fn port(port: &wire::ServicePort) -> String {
    let protocol = match port.protocol() {
        wire::Protocol::Unspecified | wire::Protocol::Tcp => "TCP",
        wire::Protocol::Udp => "UDP",
    };
    let target = port.target_port.unwrap_or(port.port);
    if target == port.port {
        format!("{}/{protocol}", port.port)
    } else {
        format!("{}->{}/{protocol}", port.port, target)
    }
}

fn endpoint(spec: &wire::Endpoint) -> (Vec<String>, Vec<String>) {
    let ports = spec.ports.iter();
    let ports: Vec<_> = ports.map(|(name, port)| format!("{name}={port}")).collect();
    let locality = spec.locality.clone().unwrap_or_default();
    (
        vec![
            spec.service.clone(),
            spec.version.clone(),
            spec.address.clone(),
            state(spec).to_owned(),
            spec.weight.unwrap_or(1).to_string(),
        ],
        vec![
            ttl(spec),
            ports.join(","),
            spec.node.clone(),
            spec.workload.clone(),
            locality.region,
            locality.zone,
        ],
    )
}

/// Whether the endpoint takes new connections.
pub(crate) fn state(spec: &wire::Endpoint) -> &'static str {
    match spec.state() {
        wire::EndpointState::Unspecified | wire::EndpointState::Serving => "Serving",
        wire::EndpointState::Draining => "Draining",
    }
}

/// The lease, or nothing for a permanent endpoint.
pub(crate) fn ttl(spec: &wire::Endpoint) -> String {
    if spec.ttl_ms == 0 {
        String::new()
    } else {
        format_duration(Duration::from_millis(spec.ttl_ms))
    }
}

/// Rules as `v1=90%,v2=10%`, and how many more there are for some requests.
pub(crate) fn rules(spec: &wire::ServiceConfig) -> String {
    let of_connections = requests::of_connections(spec);
    let shares = shares(&of_connections).into_iter();
    let mut shares: Vec<_> = shares.map(|(to, share)| format!("{to}={share}")).collect();
    let more = spec.traffic_rules.len() - of_connections.len();
    shares.extend((more > 0).then(|| format!("+{more} matches")));
    shares.join(",")
}

/// Each rule's destination and its share of what they share out, in per cent.
pub(crate) fn shares(rules: &[&wire::TrafficRule]) -> Vec<(String, String)> {
    let sum: u64 = rules.iter().map(|rule| u64::from(rule.weight)).sum();
    let share = |rule: &&wire::TrafficRule| {
        let share = percent(u64::from(rule.weight), sum);
        let destination = rule.destination.clone().unwrap_or_default();
        (destination_text(&destination), share)
    };
    rules.iter().map(share).collect()
}

pub(super) fn destination_text(destination: &wire::Destination) -> String {
    match (destination.service.as_str(), destination.version.as_str()) {
        ("", version) => version.to_owned(),
        (service, "") => format!("{service}/*"),
        (service, version) => format!("{service}/{version}"),
    }
}

/// A share in per cent, with as many decimals as it needs, at most two.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = (u128::from(part) * 10_000 + u128::from(whole) / 2) / u128::from(whole);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match (rest, rest % 10) {
        (0, _) => format!("{whole}%"),
        (_, 0) => format!("{whole}.{}%", rest / 10),
        _ => format!("{whole}.{rest:02}%"),
    }
}

/// Manifests as JSON: one object, or a list that `apply` reads as well.
pub(crate) fn json(objects: &[&wire::Object], list: bool) -> Result<String, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        api_version: &'static str,
        kind: &'static str,
        items: Vec<Manifest<'a>>,
    }
    let mut items: Vec<_> = objects.iter().map(|object| Manifest(object)).collect();
    match items.pop() {
        Some(only) if !list && items.is_empty() => super::json(&only),
        popped => {
            items.extend(popped);
            super::json(&List { api_version: API_VERSION, kind: "List", items })
        }
    }
}

/// Manifests as YAML documents.
pub(crate) fn yaml(objects: &[&wire::Object]) -> Result<String, Failure> {
    let documents: Result<Vec<_>, _> = objects.iter().map(|object| to_yaml(object)).collect();
    Ok(documents?.join("---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_decimals_they_need() {
        for (part, whole, text) in [
            (90, 100, "90%"),
            (1, 3, "33.33%"),
            (2, 3, "66.67%"),
            (1, 8, "12.5%"),
            (0, 5, "0%"),
            (1, 1_000_000, "0%"),
            (5, 10_000, "0.05%"),
            (0, 0, "-"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn rules_name_version_service_or_both() {
        let rule = |service: &str, version: &str, weight| wire::TrafficRule {
            destination: Some(wire::Destination {
                service: service.to_owned(),
                version: version.to_owned(),
            }),
            weight,
            ..wire::TrafficRule::default()
        };
        let spec = wire::ServiceConfig {
            traffic_rules: vec![rule("", "v1", 2), rule("other", "", 1), rule("other", "v2", 1)],
            ..wire::ServiceConfig::default()
        };
        assert_eq!(rules(&spec), "v1=50%,other/*=25%,other/v2=25%");
    }
}
