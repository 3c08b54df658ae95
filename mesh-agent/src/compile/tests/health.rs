//! Who gets nothing, or less, because of health, ejections and slow start; and what is for TCP.

use mesh_api::model::{
    Acceleration, Breaker, CircuitBreaker, Health, OutlierDetection, Thresholds, Timeouts,
};

use mesh_common::policy::OutlierPolicy;

use super::*;
use crate::testing::health_check;

const SECOND: Duration = Duration::from_secs(1);

/// Checked; healthy until something else is said.
fn checked(config: ServiceConfig) -> ServiceConfig {
    ServiceConfig { health_check: Some(Box::new(health_check(Health::Healthy))), ..config }
}

fn panicking(config: ServiceConfig, panic_threshold: u8) -> ServiceConfig {
    let load_balancer = LoadBalancer { panic_threshold, ..config.load_balancer };
    ServiceConfig { load_balancer, ..config }
}

fn unhealthy(last: u8) -> Change {
    Change::Health(name(&format!("a-v1-{last}")), Some(Health::Unhealthy))
}

fn healthy(last: u8) -> Change {
    Change::Health(name(&format!("a-v1-{last}")), Some(Health::Healthy))
}

/// A service with so many endpoints.
fn with_endpoints(count: u8, config: ServiceConfig) -> World {
    let endpoints = (1..=count).map(|last| put(endpoint("a", "v1", last, 1)));
    world_of([put(service("a", &[1], &[80])), put(config)].into_iter().chain(endpoints))
}

fn after(mut world: World, changes: impl IntoIterator<Item = Change>) -> Plan {
    changes.into_iter().for_each(|change| world.apply(change));
    plan_of(&world, Family::V4)
}

fn ejected(plan: &Plan, lasts: &[u8]) -> BTreeSet<(IpKey, u16)> {
    let places = plan.shares.iter().map(|share| (share.addr, share.port));
    places.filter(|(addr, _)| lasts.contains(&addr.octets[15])).collect()
}

fn plan_without(world: &World, ejected: &BTreeSet<(IpKey, u16)>) -> Plan {
    let group = world.find(&name("a")).unwrap();
    let unit = UnitKey { group, port: 80, protocol: Protocol::Tcp, family: Family::V4 };
    Origin::find(world, unit).unwrap().plan(ejected, KERNEL)
}

fn outlier(percent: u8) -> OutlierDetection {
    OutlierDetection {
        consecutive_failures: Some(5),
        interval: 10 * SECOND,
        base_ejection_time: 30 * SECOND,
        max_ejection_time: 300 * SECOND,
        max_ejection_percent: percent,
        failure_percentage: None,
        minimum_connections: 1,
        consecutive_5xx: None,
        consecutive_gateway_errors: None,
    }
}

fn detecting(config: ServiceConfig, percent: u8) -> ServiceConfig {
    ServiceConfig { outlier_detection: Some(Box::new(outlier(percent))), ..config }
}

#[test]
fn the_unhealthy_get_nothing() {
    let world = with_endpoints(3, checked(config("a", &[])));
    let plan = after(world, [unhealthy(2)]);
    assert_close(&split(&plan), &[(1, 0.5), (3, 0.5)]);
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn where_nobody_checks_nobody_is_unhealthy() {
    let plan = after(with_endpoints(2, config("a", &[])), [unhealthy(1)]);
    assert_eq!(plan.shares.len(), 2);
}

#[test]
fn what_nothing_is_said_of_is_as_the_check_begins() {
    let check = Some(Box::new(health_check(Health::Unhealthy)));
    let world = with_endpoints(2, ServiceConfig { health_check: check, ..config("a", &[]) });
    assert_close(&split(&after(world, [healthy(2)])), &[(2, 1.0)]);
}

#[test]
fn if_all_are_unhealthy_connections_are_refused_and_a_person_is_told() {
    let mut world = with_endpoints(2, checked(config("a", &[])));
    let mut v6 = endpoint("a", "v1", 3, 1);
    v6.address = "fd00::3".parse().unwrap();
    world.apply(put(v6));
    let plan = after(world, [unhealthy(1), unhealthy(2)]);
    assert_eq!(plan.shares, []);
    // There are IPv4 endpoints.
    assert!(!plan.head.flags.contains(ServiceFlags::OTHER_FAMILY));
    assert!(plan.warnings[0].contains("none of 2 IPv4 endpoints is healthy"));
}

#[test]
fn a_rule_without_healthy_endpoints_leaves_its_share() {
    let world = with_endpoints(2, checked(config("a", &[("v1", 90), ("v2", 10)])));
    let plan = after(world, [put(endpoint("a", "v2", 3, 1)), unhealthy(1), unhealthy(2)]);
    assert_close(&split(&plan), &[(3, 1.0)]);
}

#[test]
fn below_the_panic_threshold_health_is_ignored() {
    let world = || with_endpoints(4, panicking(checked(config("a", &[])), 50));
    assert_eq!(after(world(), [unhealthy(1), unhealthy(2)]).shares.len(), 2);
    let plan = after(world(), [unhealthy(1), unhealthy(2), unhealthy(3)]);
    assert_eq!(plan.shares.len(), 4);
    assert!(plan.warnings[0].contains("only 1 of 4"), "{:?}", plan.warnings);
}

#[test]
fn the_nearest_level_is_one_with_a_healthy_endpoint() {
    let of = |mode| {
        let config = local(checked(config("a", &[])), mode, LocalityScope::Node);
        let mut world = world_of([put(service("a", &[1], &[80])), put(config)]);
        for (last, level) in [(1, 0), (2, 1), (3, 3)] {
            world.apply(put(at_level(endpoint("a", "v1", last, 1), level)));
        }
        after(world, [unhealthy(1)])
    };
    assert_close(&split(&of(LocalityMode::PreferLocal)), &[(2, 1.0)]);
    assert_eq!(of(LocalityMode::Strict).shares, []);
}

#[test]
fn panic_counts_endpoints_wherever_they_are() {
    let near = |threshold| {
        let config = panicking(checked(config("a", &[])), threshold);
        let config = local(config, LocalityMode::PreferLocal, LocalityScope::Node);
        let mut world = world_of([put(service("a", &[1], &[80])), put(config)]);
        for (last, level) in [(1, 0), (2, 3), (3, 3)] {
            world.apply(put(at_level(endpoint("a", "v1", last, 1), level)));
        }
        split(&after(world, [unhealthy(1)]))
    };
    // Two of three are healthy.
    assert_close(&near(66), &[(2, 0.5), (3, 0.5)]);
    assert_close(&near(67), &[(1, 1.0)]);
}

#[test]
fn who_turns_healthy_starts_slowly() {
    let mut config = checked(config("a", &[]));
    config.load_balancer.slow_start = Some(10 * SECOND);
    config.load_balancer.policy = Policy::RoundRobin;
    let mut world = with_endpoints(2, config);
    world.apply(unhealthy(1));
    world.set_time(100 * SECOND);
    world.apply(healthy(1));
    let plan = plan_of(&world, Family::V4);
    assert_close(&split(&plan), &[(1, 1.0 / 11.0), (2, 10.0 / 11.0)]);
    assert_eq!(table(plan.head.algorithm, &plan.shares).len(), 11);
    world.set_time(104 * SECOND);
    assert_close(&split(&plan_of(&world, Family::V4)), &[(1, 1.0 / 3.0), (2, 2.0 / 3.0)]);
    world.set_time(110 * SECOND);
    assert_close(&split(&plan_of(&world, Family::V4)), &[(1, 0.5), (2, 0.5)]);
}

#[test]
fn the_ejected_get_nothing_unless_all_are() {
    let world = with_endpoints(3, detecting(config("a", &[]), 100));
    let all = plan_without(&world, &BTreeSet::new());
    let plan = plan_without(&world, &ejected(&all, &[1]));
    assert_close(&split(&plan), &[(2, 0.5), (3, 0.5)]);
    // The programs skip them until their time is over.
    assert_eq!(plan_without(&world, &ejected(&all, &[1, 2, 3])).shares.len(), 3);
    // Nothing is ejected where nothing may be.
    let world = with_endpoints(3, detecting(config("a", &[]), 0));
    assert_eq!(plan_without(&world, &ejected(&all, &[1])).shares.len(), 3);
}

#[test]
fn panic_has_the_programs_ignore_ejections() {
    let world = with_endpoints(3, panicking(detecting(config("a", &[]), 100), 50));
    let all = plan_without(&world, &BTreeSet::new());
    let plan = plan_without(&world, &ejected(&all, &[1, 2]));
    assert_eq!(plan.shares.len(), 3);
    assert_eq!((plan.policy.outlier.base_ms, plan.policy.outlier.consecutive_failures), (0, 0));
    assert!(plan.head.flags.contains(ServiceFlags::GUARDED));
}

#[test]
fn some_may_be_ejected_but_at_least_one() {
    for (endpoints, percent, most) in [(3, 10, 1), (3, 0, 0), (9, 50, 4), (3, 100, 3)] {
        let world = with_endpoints(endpoints, detecting(config("a", &[]), percent));
        let plan = plan_of(&world, Family::V4);
        assert_eq!(plan.policy.outlier.max_ejected, most);
        assert_eq!(plan.head.flags.contains(ServiceFlags::GUARDED), most > 0);
    }
}

#[test]
fn guards_are_for_tcp() {
    let breaker = Breaker {
        max_failures: 5,
        window: 10 * SECOND,
        reset_timeout: 3 * SECOND,
        trial_connections: 2,
    };
    let service_limits =
        Thresholds { max_connections: Some(100), max_pending_connections: Some(7), breaker: None };
    let endpoint_limits = Thresholds { breaker: Some(breaker), ..Thresholds::default() };
    let both =
        CircuitBreaker { service: service_limits, endpoint: endpoint_limits, requests: None };
    let timeouts =
        Timeouts { connect: Some(2 * SECOND), idle: Some(60 * SECOND), ..Timeouts::default() };
    let config = ServiceConfig {
        circuit_breaker: Some(Box::new(both)),
        timeouts: Some(Box::new(timeouts)),
        ..config("a", &[])
    };
    let tcp = plan_of(&with_endpoints(1, config.clone()), Family::V4);
    let Guards { service, backend, timeouts, outlier, pad: _ } = tcp.policy;
    assert_eq!((service.max_connections, service.max_pending, service.max_failures), (100, 7, 0));
    assert_eq!((backend.max_connections, backend.max_failures, backend.trials), (0, 5, 2));
    assert_eq!((backend.window_ms, backend.reset_ms), (10_000, 3_000));
    assert_eq!((timeouts.connect_ms, timeouts.idle_ms), (2_000, 60_000));
    assert_eq!(outlier, OutlierPolicy::default());
    let flags = tcp.head.flags;
    assert!(flags.contains(ServiceFlags::GUARDED) && flags.contains(ServiceFlags::TIMED));

    let plan = udp_plan(config);
    assert_eq!((plan.policy, plan.head.flags), Default::default());
    assert!(plan.warnings[0].contains("are for TCP"), "{:?}", plan.warnings);
}

/// The plan of a service with a UDP port alone.
fn udp_plan(config: ServiceConfig) -> Plan {
    let mut udp = service("a", &[1], &[80]);
    udp.ports[0].protocol = Protocol::Udp;
    let world = world_of([put(udp), put(endpoint("a", "v1", 1, 1)), put(config)]);
    let group = world.find(&name("a")).unwrap();
    let unit = UnitKey { group, port: 80, protocol: Protocol::Udp, family: Family::V4 };
    Origin::find(&world, unit).unwrap().plan(&BTreeSet::new(), KERNEL)
}

#[test]
fn acceleration_is_for_tcp() {
    let with = |acceleration| ServiceConfig { acceleration, ..config("a", &[]) };
    let tcp = |acceleration| plan_of(&with_endpoints(1, with(acceleration)), Family::V4);
    let (on, off) = (tcp(Acceleration::On), tcp(Acceleration::Off));
    assert_eq!(on.head.flags, ServiceFlags::ACCELERATED);
    assert_eq!(off.head.flags, ServiceFlags::default());
    let auto = ServiceFlags::ACCELERATED.bits | ServiceFlags::AUTO.bits;
    assert_eq!(tcp(Acceleration::Auto).head.flags.bits, auto);
    // It is no policy, and asks for none.
    assert_eq!((on.policy, &on.warnings), (Guards::default(), &off.warnings));
    let udp = udp_plan(with(Acceleration::On));
    assert_eq!(udp.head.flags, ServiceFlags::default());
    assert!(udp.warnings[0].contains("acceleration are for TCP"), "{:?}", udp.warnings);
    assert_eq!(udp_plan(with(Acceleration::Off)).warnings, Vec::<String>::new());
}
