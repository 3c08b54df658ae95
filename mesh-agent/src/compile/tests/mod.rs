//! Compilation under test: who gets what, near and far, and what the head says.

#![expect(clippy::cast_precision_loss, reason = "shares need no more than 52 bits")]

mod health;
mod proxy;

use std::time::Duration;

use mesh_api::model::{
    Endpoint, EndpointState, Errno, LocalityMode, LocalityPolicy, LocalityScope, ServiceConfig,
    SessionAffinity,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{at_level, config, config_to, endpoint, here, locality, name, put, service};
use crate::world::Change;

const KERNEL: Kernel = Kernel { hz: Some(250), linear_timeouts: 4 };

fn world_of(changes: impl IntoIterator<Item = Change>) -> World {
    let mut world = World::new(here());
    for change in changes {
        world.apply(change);
    }
    world
}

fn plan_of(world: &World, family: Family) -> Plan {
    let group = world.find(&name("a")).unwrap();
    let unit = UnitKey { group, port: 80, protocol: Protocol::Tcp, family };
    Origin::find(world, unit).unwrap().plan(&BTreeSet::new(), KERNEL)
}

fn plan(changes: impl IntoIterator<Item = Change>) -> Plan {
    plan_of(&world_of(changes), Family::V4)
}

/// Share of each backend address's last byte, over all cells of the table.
fn split(plan: &Plan) -> BTreeMap<u8, f64> {
    let cells = table(plan.head.algorithm, &plan.shares);
    let mut split = BTreeMap::new();
    for cell in &cells {
        let part = match cell.threshold {
            u32::MAX => 1.0,
            threshold => f64::from(threshold) / 2f64.powi(32),
        };
        for (at, part) in [(cell.primary, part), (cell.alias, 1.0 - part)] {
            let last = plan.shares[at].addr.octets[15];
            *split.entry(last).or_insert(0.0) += part / cells.len() as f64;
        }
    }
    split.retain(|_, share| *share > 0.0);
    split
}

fn assert_close(split: &BTreeMap<u8, f64>, expected: &[(u8, f64)]) {
    assert_eq!(split.len(), expected.len(), "{split:?}");
    for (last, share) in expected {
        assert!((split[last] - share).abs() < 1e-6, "{split:?} instead of {expected:?}");
    }
}

fn balanced(config: ServiceConfig, policy: Policy) -> ServiceConfig {
    ServiceConfig { load_balancer: LoadBalancer { policy, ..config.load_balancer }, ..config }
}

fn local(config: ServiceConfig, mode: LocalityMode, scope: LocalityScope) -> ServiceConfig {
    let locality = Some(LocalityPolicy { mode, scope });
    ServiceConfig { load_balancer: LoadBalancer { locality, ..config.load_balancer }, ..config }
}

#[test]
fn rule_weights_and_endpoint_weights_multiply() {
    for policy in [Policy::Random, Policy::LeastConnections] {
        let plan = plan([
            put(service("a", &[1], &[80])),
            put(endpoint("a", "v1", 1, 1)),
            put(endpoint("a", "v1", 2, 3)),
            put(endpoint("a", "v2", 3, 7)),
            put(balanced(config("a", &[("v1", 90), ("v2", 10)]), policy)),
        ]);
        assert_close(&split(&plan), &[(1, 0.225), (2, 0.675), (3, 0.1)]);
        assert_eq!(plan.warnings, Vec::<String>::new());
    }
}

#[test]
fn weights_are_small_where_they_can_be() {
    let plan = plan([
        put(service("a", &[1], &[80])),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("a", "v1", 2, 1)),
        put(endpoint("a", "v1", 3, 1)),
        put(endpoint("a", "v2", 4, 1)),
        put(balanced(config("a", &[("v1", 50), ("v2", 50)]), Policy::RoundRobin)),
    ]);
    let weights: Vec<u64> = plan.shares.iter().map(|share| share.weight).collect();
    assert_eq!(weights, [1, 1, 1, 3]);
    assert_eq!(table(plan.head.algorithm, &plan.shares).len(), 6);
}

#[test]
fn a_rule_without_endpoints_leaves_its_share_and_says_so() {
    let plan = plan([
        put(service("a", &[1], &[80])),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("a", "v2", 2, 1)),
        put(config("a", &[("v1", 30), ("v2", 20), ("v3", 50)])),
    ]);
    assert_close(&split(&plan), &[(1, 0.6), (2, 0.4)]);
    assert!(plan.warnings[0].contains("default/a version v3"), "{:?}", plan.warnings);
}

#[test]
fn a_rule_may_name_another_service_and_uses_its_port() {
    let mut other = service("b", &[2], &[80]);
    other.ports[0].target_port = crate::testing::port(9999);
    let plan = plan([
        put(service("a", &[1], &[80])),
        put(other),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("b", "v1", 2, 1)),
        put(config_to("a", &[("a", None, 3), ("b", None, 1)])),
    ]);
    assert_close(&split(&plan), &[(1, 0.75), (2, 0.25)]);
    let ports: Vec<u16> = plan.shares.iter().map(|share| share.port).collect();
    assert_eq!(ports, [8080, 9999]);
}

#[test]
fn draining_and_weightless_endpoints_have_no_share_but_are_targets() {
    let draining = Endpoint { state: EndpointState::Draining, ..endpoint("a", "v1", 2, 1) };
    let world = world_of([
        put(service("a", &[1], &[80])),
        put(endpoint("a", "v1", 1, 1)),
        put(draining),
        put(endpoint("a", "v1", 3, 0)),
    ]);
    assert_close(&split(&plan_of(&world, Family::V4)), &[(1, 1.0)]);
    let group = world.find(&name("a")).unwrap();
    let unit = UnitKey { group, port: 80, protocol: Protocol::Tcp, family: Family::V4 };
    assert_eq!(Origin::find(&world, unit).unwrap().targets().len(), 3);
}

#[test]
fn families_do_not_mix() {
    let mut dual = service("a", &[1], &[80]);
    dual.vips.push("fd00::1".parse().unwrap());
    let mut v6 = endpoint("a", "v1", 2, 1);
    v6.address = "fd01::2".parse().unwrap();
    let both = world_of([put(dual.clone()), put(endpoint("a", "v1", 1, 1)), put(v6)]);
    assert_close(&split(&plan_of(&both, Family::V4)), &[(1, 1.0)]);
    assert_close(&split(&plan_of(&both, Family::V6)), &[(2, 1.0)]);
    let group = both.group(both.find(&name("a")).unwrap()).unwrap();
    assert_eq!(units(both.find(&name("a")).unwrap(), group).len(), 2);

    let only_v4 = world_of([put(dual.clone()), put(endpoint("a", "v1", 1, 1))]);
    let plan = plan_of(&only_v4, Family::V6);
    assert!(plan.shares.is_empty() && plan.head.flags.contains(ServiceFlags::OTHER_FAMILY));
    assert!(plan.warnings[0].contains("all endpoints are IPv4"), "{:?}", plan.warnings);

    let none = plan_of(&world_of([put(dual)]), Family::V6);
    assert!(none.shares.is_empty() && !none.head.flags.contains(ServiceFlags::OTHER_FAMILY));
    assert_eq!(none.warnings, Vec::<String>::new());
}

#[test]
fn the_head_says_what_the_service_says() {
    let mut service = service("a", &[1], &[80]);
    service.on_no_backend = OnNoBackend::Refuse(Errno::AccessDenied);
    service.session_affinity =
        Some(SessionAffinity { key: ClientKey::Workload, timeout: Duration::from_secs(5) });
    let mut maglev = balanced(config("a", &[]), Policy::Maglev);
    maglev.load_balancer.hash_key = HashKey::Connection;
    let head = plan([put(service.clone()), put(maglev.clone())]).head;
    assert_eq!((head.refuse_errno, head.affinity_ms), (13, 5000));
    assert_eq!(head.algorithm, Algorithm::MAGLEV);
    let both = ServiceFlags::KEY_WORKLOAD.bits | ServiceFlags::KEY_CONNECTION.bits;
    assert_eq!(head.flags.bits, both);

    maglev.load_balancer.hash_key = HashKey::Workload;
    service.session_affinity = None;
    service.on_no_backend = OnNoBackend::PassThrough;
    let head = plan([put(service.clone()), put(maglev.clone())]).head;
    let both = ServiceFlags::KEY_WORKLOAD.bits | ServiceFlags::PASS_THROUGH.bits;
    assert_eq!((head.flags.bits, head.affinity_ms), (both, 0));

    let timeout = Duration::from_secs(5);
    service.session_affinity = Some(SessionAffinity { key: ClientKey::NetworkNamespace, timeout });
    let plan = plan([put(service), put(maglev)]);
    assert!(!plan.head.flags.contains(ServiceFlags::KEY_WORKLOAD));
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn near_endpoints_come_first_within_each_rule() {
    let endpoints = [
        put(at_level(endpoint("a", "v1", 1, 1), 0)),
        put(at_level(endpoint("a", "v1", 2, 1), 1)),
        put(at_level(endpoint("a", "v2", 3, 1), 2)),
        put(at_level(endpoint("a", "v2", 4, 1), 3)),
    ];
    let shares = |mode, scope| {
        let config = local(config("a", &[("v1", 90), ("v2", 10)]), mode, scope);
        let service = put(service("a", &[1], &[80]));
        split(&plan(endpoints.iter().cloned().chain([service, put(config)])))
    };
    let (prefer, strict) = (LocalityMode::PreferLocal, LocalityMode::Strict);
    assert_close(&shares(prefer, LocalityScope::Node), &[(1, 0.9), (3, 0.1)]);
    assert_close(&shares(prefer, LocalityScope::Zone), &[(1, 0.45), (2, 0.45), (3, 0.1)]);
    assert_close(&shares(prefer, LocalityScope::Region), &[(1, 0.45), (2, 0.45), (3, 0.1)]);
    assert_close(&shares(strict, LocalityScope::Node), &[(1, 1.0)]);
    assert_close(&shares(strict, LocalityScope::Region), &[(1, 0.45), (2, 0.45), (3, 0.1)]);
}

/// Endpoints as version, last byte, weight and level.
fn endpoints() -> impl Strategy<Value = BTreeMap<u8, (u8, u32, u8)>> {
    prop::collection::btree_map(1..40u8, (0..3u8, 0..100u32, 0..4u8), 1..20)
}

fn objects(
    endpoints: &BTreeMap<u8, (u8, u32, u8)>,
    rules: &[(&str, u32)],
    locality: Option<LocalityPolicy>,
) -> World {
    let mut config = config("a", rules);
    config.load_balancer.locality = locality;
    let changes = endpoints.iter().map(|(last, (version, weight, level))| {
        put(at_level(endpoint("a", &format!("v{version}"), *last, *weight), *level))
    });
    world_of(changes.chain([put(service("a", &[1], &[80])), put(config)]))
}

proptest! {
    /// Shares add up to 1, and within a rule they are as the weights.
    #[test]
    fn shares_are_rule_by_endpoint_weight(
        endpoints in endpoints(),
        weights in prop::collection::vec(0..1000u32, 3),
        locality in locality(),
    ) {
        let rules = [("v0", weights[0]), ("v1", weights[1]), ("v2", weights[2])];
        let plan = plan_of(&objects(&endpoints, &rules, locality), Family::V4);
        let split = split(&plan);
        // By the definition, in floating point.
        let mut expected: BTreeMap<u8, f64> = BTreeMap::new();
        for (version, rule) in weights.iter().enumerate() {
            let near = |level: u8| locality.map_or(0, |policy| level.max(policy.scope as u8));
            let mut able: Vec<(u8, u32, u8)> = endpoints
                .iter()
                .filter(|(_, (v, weight, _))| usize::from(*v) == version && *weight > 0)
                .map(|(last, (_, weight, level))| (*last, *weight, near(*level)))
                .collect();
            if let Some(policy) = locality {
                let nearest = able.iter().map(|(.., level)| *level).min().unwrap_or(0);
                let nearest = match policy.mode {
                    LocalityMode::PreferLocal => nearest,
                    LocalityMode::Strict => policy.scope as u8,
                };
                able.retain(|(.., level)| *level == nearest);
            }
            let sum: u32 = able.iter().map(|(_, weight, _)| weight).sum();
            for (last, weight, _) in able.into_iter().filter(|_| *rule > 0) {
                expected.insert(last, f64::from(*rule) * f64::from(weight) / f64::from(sum));
            }
        }
        let total: f64 = expected.values().sum();
        prop_assert_eq!(split.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (last, share) in &split {
            prop_assert!((share - expected[last] / total).abs() < 1e-6);
        }
    }

    /// More weight never means less.
    #[test]
    fn shares_grow_with_the_weight(endpoints in endpoints(), more in 1..50u32) {
        let before = plan_of(&objects(&endpoints, &[], None), Family::V4);
        let mut heavier = endpoints;
        let last = *heavier.keys().next().unwrap();
        heavier.get_mut(&last).unwrap().1 += more;
        let after = plan_of(&objects(&heavier, &[], None), Family::V4);
        let (before, after) = (split(&before), split(&after));
        for (other, share) in &after {
            let had = before.get(other).copied().unwrap_or(0.0);
            let grows = if *other == last { share - had } else { had - share };
            prop_assert!(grows > -1e-9, "{before:?} {after:?}");
        }
    }

    /// A canary gets its share, wherever its endpoints are, as long as every rule has some.
    #[test]
    fn the_split_of_rules_does_not_depend_on_locality(
        endpoints in endpoints(),
        scope in 0..3u8,
    ) {
        let scope = [LocalityScope::Node, LocalityScope::Zone, LocalityScope::Region]
            [usize::from(scope)];
        let policy = LocalityPolicy { mode: LocalityMode::PreferLocal, scope };
        let rules = [("v0", 60), ("v1", 30), ("v2", 10)];
        let by_version = |locality| {
            let split = split(&plan_of(&objects(&endpoints, &rules, locality), Family::V4));
            let mut versions = [0.0; 3];
            for (last, share) in split {
                versions[usize::from(endpoints[&last].0)] += share;
            }
            versions
        };
        let (without, with) = (by_version(None), by_version(Some(policy)));
        for (one, other) in without.iter().zip(&with) {
            prop_assert!((one - other).abs() < 1e-6, "{without:?} {with:?}");
        }
    }

    /// Huge weights neither overflow nor lose an endpoint.
    #[test]
    fn any_weights_keep_every_endpoint(
        weights in prop::collection::vec(1..=u32::MAX, 1..8),
        rules in prop::collection::vec(1..=u32::MAX / 8, 1..5),
    ) {
        let names: Vec<String> = (0..rules.len()).map(|at| format!("v{at}")).collect();
        let rules: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip(rules.iter().copied()).collect();
        let mut changes = vec![put(service("a", &[1], &[80])), put(config("a", &rules))];
        for version in &names {
            for (last, weight) in (1..).zip(&weights) {
                changes.push(put(endpoint("a", version, last, *weight)));
            }
        }
        let plan = plan(changes);
        prop_assert_eq!(plan.shares.len(), weights.len());
        let sum: f64 = plan.shares.iter().map(|share| share.weight as f64).sum();
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (share, weight) in plan.shares.iter().zip(&weights) {
            let error = share.weight as f64 / sum - f64::from(*weight) / total;
            prop_assert!(error.abs() < 1e-6, "{error}");
        }
    }
}
