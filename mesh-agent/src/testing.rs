//! Worlds for tests: builders, and strategies that make any world a small mesh could have.

use std::net::Ipv4Addr;

use mesh_api::model::{
    Destination, Endpoint, EndpointState, Label, LoadBalancer, Locality, Object, ObjectName,
    OnNoBackend, Port, Protocol, Service, ServiceConfig, ServicePort, TrafficRule,
};
use proptest::prelude::*;

use crate::compile::Limits;
use crate::world::{Change, World};

/// Room for everything the strategies make.
pub(crate) const LIMITS: Limits = Limits { frontends: 64, services: 32, slots: 512, backends: 256 };

pub(crate) fn name(text: &str) -> ObjectName {
    format!("default/{text}").parse().unwrap()
}

pub(crate) fn port(number: u16) -> Port {
    u32::from(number).try_into().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(crate) fn service(text: &str, vips: &[u8], ports: &[u16]) -> Service {
    Service {
        name: name(text),
        labels: [].into(),
        vips: vips.iter().map(|last| Ipv4Addr::new(10, 96, 0, *last).into()).collect(),
        ports: ports
            .iter()
            .map(|number| ServicePort {
                name: format!("p{number}").parse().unwrap(),
                port: port(*number),
                target_port: port(number + 8000),
                protocol: Protocol::Tcp,
                app_protocol: None,
            })
            .collect(),
        on_no_backend: OnNoBackend::default(),
        session_affinity: None,
    }
}

pub(crate) fn endpoint(service: &str, version: &str, last: u8, weight: u32) -> Endpoint {
    Endpoint {
        name: name(&format!("{service}-{version}-{last}")),
        labels: [].into(),
        service: name(service),
        version: Some(label(version)),
        address: Ipv4Addr::new(10, 1, 0, last).into(),
        ports: [].into(),
        node: None,
        workload: None,
        locality: Locality::default(),
        weight,
        state: EndpointState::Serving,
        ttl: None,
    }
}

pub(crate) fn config(service: &str, rules: &[(&str, u32)]) -> ServiceConfig {
    ServiceConfig {
        name: name(service),
        labels: [].into(),
        traffic_rules: rules
            .iter()
            .map(|(version, weight)| TrafficRule {
                destination: Destination { service: name(service), version: Some(label(version)) },
                weight: *weight,
            })
            .collect(),
        load_balancer: LoadBalancer::default(),
        drain_timeout: None,
    }
}

pub(crate) fn put(object: impl Into<AnyObject>) -> Change {
    Change::Put(object.into().0)
}

/// Lets [`put`] take each kind.
pub(crate) struct AnyObject(Object);

impl From<Service> for AnyObject {
    fn from(service: Service) -> Self {
        Self(Object::Service(service))
    }
}

impl From<Endpoint> for AnyObject {
    fn from(endpoint: Endpoint) -> Self {
        Self(Object::Endpoint(endpoint))
    }
}

impl From<ServiceConfig> for AnyObject {
    fn from(config: ServiceConfig) -> Self {
        Self(Object::ServiceConfig(config))
    }
}

/// Any world of up to four services, whose addresses may collide.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let one = (
        prop::collection::btree_set(1..6u8, 1..3),
        prop::collection::btree_set(80..83u16, 1..3),
        prop::collection::btree_map((1..4u8, 1..12u8), 0..4u32, 0..8),
        prop::collection::btree_map(1..4u8, 0..5u32, 0..4),
        any::<bool>(),
    );
    prop::collection::btree_map(0..4u8, one, 0..5).prop_map(|services| {
        let mut world = World::default();
        for (at, (vips, ports, endpoints, rules, pass)) in services {
            let text = format!("s{at}");
            let vips: Vec<u8> = vips.into_iter().collect();
            let ports: Vec<u16> = ports.into_iter().collect();
            let mut service = service(&text, &vips, &ports);
            if pass {
                service.on_no_backend = OnNoBackend::PassThrough;
            }
            world.apply(put(service));
            for ((version, last), weight) in endpoints {
                world.apply(put(endpoint(&text, &format!("v{version}"), last, weight)));
            }
            if !rules.is_empty() {
                let rules: Vec<(String, u32)> = rules
                    .into_iter()
                    .map(|(version, weight)| (format!("v{version}"), weight))
                    .collect();
                let rules: Vec<(&str, u32)> =
                    rules.iter().map(|(version, weight)| (version.as_str(), *weight)).collect();
                world.apply(put(config(&text, &rules)));
            }
        }
        world
    })
}

/// The changes that lead from one world to another.
pub(crate) fn changes(from: &World, to: &World) -> Vec<Change> {
    use mesh_api::model::{Kind, ObjectRef};

    let gone = |kind, name: &ObjectName| Change::Remove(ObjectRef { kind, name: name.clone() });
    let mut changes = Vec::new();
    changes.extend(
        from.services
            .keys()
            .filter(|n| !to.services.contains_key(n))
            .map(|n| gone(Kind::Service, n)),
    );
    changes.extend(
        from.endpoints
            .keys()
            .filter(|n| !to.endpoints.contains_key(n))
            .map(|n| gone(Kind::Endpoint, n)),
    );
    changes.extend(
        from.configs
            .keys()
            .filter(|n| !to.configs.contains_key(n))
            .map(|n| gone(Kind::ServiceConfig, n)),
    );
    changes.extend(to.services.values().cloned().map(put));
    changes.extend(to.endpoints.values().cloned().map(put));
    changes.extend(to.configs.values().cloned().map(put));
    changes
}
