//! Services with rules for requests: who asks for Envoy, and what each way is in the maps.

use std::net::SocketAddr;

use mesh_api::model::{
    CircuitBreaker, OnNoProxy, PathMatch, RequestRule, RouteMatch, Thresholds, Timeouts,
};

use super::*;
use crate::testing::port;

const PORT: u16 = 20_001;

/// A rule for `/x`, and the port of Envoy for the service's port.
fn asking(mut config: ServiceConfig, at: &str) -> ServiceConfig {
    let path = Some(PathMatch::Prefix("/x".to_owned()));
    let matches = Some(RouteMatch { path, ..RouteMatch::default() });
    let mut rule = config_to("a", &[("a", Some("v2"), 1)]).traffic_rules.remove(0);
    rule.request = Some(Box::new(RequestRule { matches, ..RequestRule::default() }));
    config.traffic_rules.push(rule);
    config.proxy_ports = [(at.parse().unwrap(), port(PORT))].into();
    config
}

fn http(mut service: Service) -> Service {
    for port in &mut service.ports {
        port.app_protocol = Some("http".parse().unwrap());
    }
    service
}

fn world_with(config: ServiceConfig) -> World {
    world_of([
        put(http(service("a", &[1], &[80]))),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("a", "v2", 2, 1)),
        put(config),
    ])
}

fn origin(world: &World, family: Family) -> Origin<'_> {
    let group = world.find(&name("a")).unwrap();
    Origin::find(world, UnitKey { group, port: 80, protocol: Protocol::Tcp, family }).unwrap()
}

fn port_name() -> String {
    service("a", &[1], &[80]).ports[0].name.to_string()
}

fn through(config: ServiceConfig, via: Via) -> Plan {
    let world = world_with(config);
    origin(&world, Family::V4).through(via).plan(&BTreeSet::new(), KERNEL)
}

#[test]
fn only_a_port_with_a_listener_and_rules_for_requests_asks_for_envoy() {
    let wants = |config, kind: fn(Service) -> Service| {
        let world = world_of([put(kind(service("a", &[1], &[80]))), put(config)]);
        origin(&world, Family::V6).proxy()
    };
    let here = port_name();
    let want = Want { family: Family::V6, port: PORT, otherwise: OnNoProxy::Bypass };
    assert_eq!(wants(asking(config("a", &[]), &here), http), Some(want));
    assert_eq!(wants(asking(config("a", &[]), "other"), http), None, "no listener");
    assert_eq!(wants(asking(config("a", &[]), &here), |it| it), None, "nobody can read requests");
    let quiet = ServiceConfig { traffic_rules: Vec::new(), ..asking(config("a", &[]), &here) };
    assert_eq!(wants(quiet.clone(), http), None, "a port that stays allotted is no reason");
    let timeouts = Timeouts { request: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let timed = ServiceConfig { timeouts: Some(Box::new(timeouts)), ..quiet };
    assert_eq!(wants(timed, http), Some(want));
}

#[test]
fn envoy_is_the_only_backend_and_does_what_the_kernel_did() {
    let mut config = asking(balanced(config("a", &[("v1", 1)]), Policy::Maglev), &port_name());
    let guards = CircuitBreaker {
        service: Thresholds {
            max_connections: Some(100),
            max_pending_connections: Some(3),
            ..Thresholds::default()
        },
        endpoint: Thresholds { max_connections: Some(5), ..Thresholds::default() },
        requests: None,
    };
    config.circuit_breaker = Some(Box::new(guards));
    config.timeouts =
        Some(Box::new(Timeouts { connect: Some(Duration::from_secs(1)), ..Timeouts::default() }));
    config.acceleration = mesh_api::model::Acceleration::On;
    let world = world_with(config);
    for (family, address) in [(Family::V4, "169.254.77.1"), (Family::V6, "::1")] {
        let via = Via::Proxy(SocketAddr::new(address.parse().unwrap(), PORT));
        let plan = origin(&world, family).through(via).plan(&BTreeSet::new(), KERNEL);
        let [only] = &plan.shares[..] else { panic!("{:?}", plan.shares) };
        assert_eq!((only.addr.to_ip().to_string().as_str(), only.port), (address, PORT));
        assert!(only.member.is_proxy && only.member.name.as_str() == "proxy");
        assert_eq!(plan.policy.service.max_connections, 100);
        assert_eq!((plan.policy.service.max_pending, plan.policy.backend.max_connections), (0, 0));
        assert_eq!(plan.policy.timeouts, Guards::default().timeouts);
        assert_eq!(plan.head.algorithm, Algorithm::ALIAS);
        assert_eq!(plan.head.flags, ServiceFlags::GUARDED);
        let again = origin(&world, family).through(via).plan(&BTreeSet::new(), KERNEL);
        assert!(Arc::ptr_eq(&only.member, &again.shares[0].member), "it is known again");
    }
}

#[test]
fn nobody_is_nobody_also_where_the_service_passes_through() {
    let world = world_of([
        put(Service { on_no_backend: OnNoBackend::PassThrough, ..service("a", &[1], &[80]) }),
        put(endpoint("a", "v1", 1, 1)),
    ]);
    let plan = origin(&world, Family::V4).through(Via::Nobody).plan(&BTreeSet::new(), KERNEL);
    assert!(plan.shares.is_empty() && plan.head.flags == ServiceFlags::default());
    assert_eq!(plan.head.refuse_errno, DEFAULT_REFUSE_ERRNO);
    let refusing = Service {
        on_no_backend: OnNoBackend::Refuse(Errno::TimedOut),
        ..service("a", &[1], &[80])
    };
    let world = world_of([put(refusing), put(endpoint("a", "v1", 1, 1))]);
    let plan = origin(&world, Family::V4).through(Via::Nobody).plan(&BTreeSet::new(), KERNEL);
    assert_eq!(plan.head.refuse_errno, Errno::TimedOut.number());
}

#[test]
fn past_envoy_the_kernel_follows_the_rules_that_it_can() {
    let with = asking(config("a", &[("v1", 1)]), &port_name());
    assert_close(&split(&through(with.clone(), Via::Endpoints)), &[(1, 1.0)]);
    assert_close(&split(&through(with, Via::AnyEndpoint)), &[(1, 1.0)]);
    let without = asking(config("a", &[]), &port_name());
    assert_eq!(through(without.clone(), Via::Endpoints).shares, [], "what no rule is for");
    assert_close(&split(&through(without, Via::AnyEndpoint)), &[(1, 0.5), (2, 0.5)]);
}
