//! Worlds for tests: builders, and strategies that make any world a small mesh could have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mesh_api::model::{
    Acceleration, Breaker, CircuitBreaker, ClientKey, Destination, Endpoint, EndpointState, Errno,
    HashKey, Health, HealthCheck, Kind, Label, LoadBalancer, Locality, LocalityMode,
    LocalityPolicy, LocalityScope, Object, ObjectName, ObjectRef, OnNoBackend, OnNoProxy,
    OutlierDetection, Policy, Port, Probe, Protocol, Service, ServiceConfig, ServicePort,
    SessionAffinity, Thresholds, Timeouts, TrafficRule,
};
use proptest::prelude::*;

use crate::compile::Limits;
use crate::world::{Change, NodeLocality};

/// Room for everything the strategies make.
pub(crate) const LIMITS: Limits =
    Limits { frontends: 128, services: 128, slots: 4096, backends: 1024 };

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
    let rules: Vec<_> =
        rules.iter().map(|(version, weight)| (service, Some(*version), *weight)).collect();
    config_to(service, &rules)
}

/// Rules with the service, version and weight of each.
pub(crate) fn config_to(service: &str, rules: &[(&str, Option<&str>, u32)]) -> ServiceConfig {
    ServiceConfig {
        name: name(service),
        labels: [].into(),
        traffic_rules: rules
            .iter()
            .map(|(service, version, weight)| TrafficRule {
                request: None,
                destination: Destination { service: name(service), version: version.map(label) },
                weight: *weight,
            })
            .collect(),
        load_balancer: LoadBalancer::default(),
        drain_timeout: None,
        circuit_breaker: None,
        outlier_detection: None,
        health_check: None,
        timeouts: None,
        acceleration: Acceleration::Off,
        on_no_proxy: OnNoProxy::default(),
        proxy_ports: [].into(),
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

/// Where the node of the tests is.
pub(crate) fn here() -> NodeLocality {
    NodeLocality { node: Some(label("n1")), region: Some(label("r1")), zone: Some(label("z1")) }
}

/// Puts an endpoint at one of the four levels, seen from [`here`].
pub(crate) fn at_level(mut endpoint: Endpoint, level: u8) -> Endpoint {
    let text = |near: bool, one, other| Some(label(if near { one } else { other }));
    endpoint.node = text(level == 0, "n1", "n2");
    endpoint.locality.zone = text(level <= 1, "z1", "z2");
    endpoint.locality.region = text(level <= 2, "r1", "r2");
    endpoint
}

/// Objects by name: what a world is made of, to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) services: BTreeMap<ObjectName, Service>,
    pub(crate) endpoints: BTreeMap<ObjectName, Endpoint>,
    pub(crate) configs: BTreeMap<ObjectName, ServiceConfig>,
    /// Of endpoints that are there, or not.
    pub(crate) health: BTreeMap<ObjectName, Health>,
}

/// The changes that lead from one world to another.
pub(crate) fn changes(from: &Objects, to: &Objects) -> Vec<Change> {
    let mut changes = Vec::new();
    gone(Kind::Service, &from.services, &to.services, &mut changes);
    gone(Kind::Endpoint, &from.endpoints, &to.endpoints, &mut changes);
    gone(Kind::ServiceConfig, &from.configs, &to.configs, &mut changes);
    changes.extend(to.services.values().cloned().map(put));
    changes.extend(to.endpoints.values().cloned().map(put));
    changes.extend(to.configs.values().cloned().map(put));
    let forgotten = from.health.keys().filter(|name| !to.health.contains_key(name));
    changes.extend(forgotten.map(|name| Change::Health(name.clone(), None)));
    let said = |(name, health): (&ObjectName, &Health)| Change::Health(name.clone(), Some(*health));
    changes.extend(to.health.iter().map(said));
    changes
}

fn gone<V>(
    kind: Kind,
    from: &BTreeMap<ObjectName, V>,
    to: &BTreeMap<ObjectName, V>,
    changes: &mut Vec<Change>,
) {
    let names = from.keys().filter(|name| !to.contains_key(name));
    changes.extend(names.map(|name| Change::Remove(ObjectRef { kind, name: name.clone() })));
}

fn vip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        2 => (1..5u8).prop_map(|last| Ipv4Addr::new(10, 96, 0, last).into()),
        1 => (1..4u16).prop_map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into()),
    ]
}

fn balancer() -> impl Strategy<Value = LoadBalancer> {
    let policy = prop_oneof![
        Just(Policy::Random),
        Just(Policy::RoundRobin),
        Just(Policy::LeastConnections),
        Just(Policy::Maglev)
    ];
    let key = prop_oneof![
        Just(HashKey::NetworkNamespace),
        Just(HashKey::Workload),
        Just(HashKey::Connection)
    ];
    let panic_threshold = prop_oneof![Just(0), 1..=100u8];
    (policy, key, locality(), panic_threshold).prop_map(
        |(policy, hash_key, locality, panic_threshold)| LoadBalancer {
            policy,
            hash_key,
            locality,
            slow_start: None,
            panic_threshold,
        },
    )
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    let breaker = (1..9u32).prop_map(|max_failures| Breaker {
        max_failures,
        window: Duration::from_secs(10),
        reset_timeout: Duration::from_secs(5),
        trial_connections: 2,
    });
    (prop::option::of(1..99u32), prop::option::of(breaker)).prop_map(
        |(max_connections, breaker)| Thresholds {
            max_connections,
            max_pending_connections: None,
            breaker,
        },
    )
}

/// A configuration with these, which have nothing to do with each other.
fn guards() -> impl Strategy<Value = ServiceConfig> {
    let breaker = (thresholds(), thresholds()).prop_map(|(service, endpoint)| {
        Box::new(CircuitBreaker { service, endpoint, requests: None })
    });
    let outlier = (0..3u8, prop::option::of(1..9u32)).prop_map(|(percent, failures)| {
        Box::new(OutlierDetection {
            consecutive_failures: failures,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
            max_ejection_percent: percent * 50,
            failure_percentage: None,
            minimum_connections: 1,
            consecutive_5xx: None,
            consecutive_gateway_errors: None,
        })
    });
    let timeouts = (1..9u64).prop_map(|seconds| {
        let connect = Some(Duration::from_secs(seconds));
        Box::new(Timeouts { connect, ..Timeouts::default() })
    });
    let check = health().prop_map(|initial| Box::new(health_check(initial)));
    (
        prop::option::weighted(0.4, breaker),
        prop::option::weighted(0.3, outlier),
        prop::option::weighted(0.3, timeouts),
        prop::option::of(check),
        prop_oneof![Just(Acceleration::Off), Just(Acceleration::On), Just(Acceleration::Auto),],
    )
        .prop_map(
            |(circuit_breaker, outlier_detection, timeouts, health_check, acceleration)| {
                ServiceConfig {
                    acceleration,
                    circuit_breaker,
                    outlier_detection,
                    timeouts,
                    health_check,
                    ..config("x", &[])
                }
            },
        )
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Unhealthy)]
}

pub(crate) const fn health_check(initial: Health) -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        initial,
        port: None,
        jitter_percent: 0,
    }
}

pub(crate) fn locality() -> impl Strategy<Value = Option<LocalityPolicy>> {
    let mode = prop_oneof![Just(LocalityMode::PreferLocal), Just(LocalityMode::Strict)];
    let scope = prop_oneof![
        Just(LocalityScope::Node),
        Just(LocalityScope::Zone),
        Just(LocalityScope::Region)
    ];
    prop::option::of((mode, scope).prop_map(|(mode, scope)| LocalityPolicy { mode, scope }))
}

fn affinity() -> impl Strategy<Value = Option<SessionAffinity>> {
    let key = prop_oneof![Just(ClientKey::NetworkNamespace), Just(ClientKey::Workload)];
    prop::option::of(key.prop_map(|key| SessionAffinity { key, timeout: Duration::from_mins(1) }))
}

fn on_no_backend() -> impl Strategy<Value = OnNoBackend> {
    prop_oneof![
        Just(OnNoBackend::PassThrough),
        Just(OnNoBackend::default()),
        Just(OnNoBackend::Refuse(Errno::AccessDenied)),
    ]
}

fn a_service() -> impl Strategy<Value = Service> {
    let number = (80..82u16, any::<bool>());
    (
        prop::collection::btree_set(vip(), 1..4),
        prop::collection::btree_set(number, 1..3),
        on_no_backend(),
        affinity(),
    )
        .prop_map(|(vips, ports, on_no_backend, session_affinity)| Service {
            vips: vips.into_iter().collect(),
            ports: ports
                .into_iter()
                .map(|(number, udp)| ServicePort {
                    name: format!("{}{number}", if udp { "u" } else { "t" }).parse().unwrap(),
                    port: port(number),
                    target_port: port(number + 8000),
                    protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                    app_protocol: None,
                })
                .collect(),
            on_no_backend,
            session_affinity,
            ..service("x", &[], &[])
        })
}

fn an_endpoint() -> impl Strategy<Value = Endpoint> {
    (1..4u8, 1..10u8, 0..4u32, 0..8u8, 0..3u8, 0..4u8).prop_map(
        |(version, last, weight, draining, v6, level)| {
            let mut endpoint = endpoint("x", &format!("v{version}"), last, weight);
            if draining == 0 {
                endpoint.state = EndpointState::Draining;
            }
            if v6 == 0 {
                let address = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, u16::from(last));
                endpoint.address = address.into();
            }
            at_level(endpoint, level)
        },
    )
}

/// Any world of up to four services, whose addresses may collide.
pub(crate) fn world() -> impl Strategy<Value = Objects> {
    let rule = (0..4u8, prop::option::weighted(0.7, 1..4u8), 0..4u32);
    let one = (
        prop::option::weighted(0.9, a_service()),
        prop::collection::vec((an_endpoint(), prop::option::of(health())), 0..8),
        prop::option::of((prop::collection::vec(rule, 0..4), balancer(), guards())),
    );
    prop::collection::btree_map(0..4u8, one, 0..5).prop_map(|services| {
        let mut objects = Objects::default();
        for (at, (service, endpoints, config)) in services {
            let text = format!("s{at}");
            if let Some(service) = service {
                objects.services.insert(name(&text), Service { name: name(&text), ..service });
            }
            for (endpoint, health) in endpoints {
                let own = format!("{text}-{}", endpoint.name.name);
                let endpoint = Endpoint { name: name(&own), service: name(&text), ..endpoint };
                objects.health.extend(health.map(|health| (endpoint.name.clone(), health)));
                objects.endpoints.insert(endpoint.name.clone(), endpoint);
            }
            if let Some((rules, load_balancer, guards)) = config {
                let rules: Vec<(String, Option<String>, u32)> = rules
                    .into_iter()
                    .map(|(to, version, weight)| {
                        // Mostly to itself.
                        let to = if to == 3 { (at + 1) % 4 } else { at };
                        (format!("s{to}"), version.map(|version| format!("v{version}")), weight)
                    })
                    .collect();
                let rules: Vec<_> = rules
                    .iter()
                    .map(|(to, version, weight)| (to.as_str(), version.as_deref(), *weight))
                    .collect();
                let ServiceConfig { name, traffic_rules, .. } = config_to(&text, &rules);
                let config = ServiceConfig { name, traffic_rules, load_balancer, ..guards };
                objects.configs.insert(config.name.clone(), config);
            }
        }
        objects
    })
}
