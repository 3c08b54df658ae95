//! Which endpoints are this node's to check, and that changes follow the world.

use std::time::Duration;

use mesh_api::model::{Endpoint, Health, Kind, ObjectRef, Probe};
use proptest::prelude::*;

use super::*;
use crate::testing::{config_to, endpoint, label, name, port, put, service};
use crate::world::{Change, NodeLocality};

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 10,
    }
}

fn checked(service: &str, check: HealthCheck) -> Change {
    let mut config = config_to(service, &[]);
    config.health_check = Some(Box::new(check));
    put(config)
}

fn here(service: &str, last: u8) -> Endpoint {
    let mut endpoint = endpoint(service, "v1", last, 1);
    endpoint.node = Some(label("n1"));
    endpoint
}

fn world() -> World {
    World::new(NodeLocality { node: Some(label("n1")), ..NodeLocality::default() })
}

fn step(world: &mut World, targets: &mut Targets, changes: Vec<Change>) -> Vec<String> {
    for change in changes {
        world.apply(change);
    }
    world.take_changed();
    let ids = world.take_to_check();
    let frontends = all_frontends(world);
    let mut told: Vec<_> = targets
        .update(world, &ids, |address| frontends.contains(&address))
        .into_iter()
        .map(|(name, target)| match target {
            Some(Target { address, prepared: false, .. }) => format!("{name} {address}"),
            Some(Target { address, prepared: true, .. }) => format!("{name} {address} direct"),
            None => format!("{name} -"),
        })
        .collect();
    told.sort();
    told
}

fn all_frontends(world: &World) -> BTreeSet<SocketAddr> {
    let services = world.groups().filter_map(|(_, group)| group.service.as_deref());
    services.flat_map(frontends).collect()
}

fn remove(kind: Kind, text: &str) -> Change {
    Change::Remove(ObjectRef { kind, name: name(text) })
}

#[test]
fn own_endpoints_of_checked_services_are_checked() {
    let (mut world, mut targets) = (world(), Targets::default());
    let changes = vec![
        put(service("a", &[1], &[80])),
        put(here("a", 1)),
        put(endpoint("a", "v1", 2, 1)),
        put(here("b", 3)),
    ];
    assert_eq!(step(&mut world, &mut targets, changes), [""; 0]);
    let told = step(&mut world, &mut targets, vec![checked("a", check())]);
    assert_eq!(told, ["default/a-v1-1 10.1.0.1:8080"]);
    // The same again is no news.
    assert_eq!(step(&mut world, &mut targets, vec![checked("a", check())]), [""; 0]);
    let mut own = here("a", 1);
    own.ports = [("p80".parse().unwrap(), port(99))].into();
    let told = step(&mut world, &mut targets, vec![put(own)]);
    assert_eq!(told, ["default/a-v1-1 10.1.0.1:99"]);
    let other = HealthCheck { port: Some(port(7)), ..check() };
    let told = step(&mut world, &mut targets, vec![checked("a", other)]);
    assert_eq!(told, ["default/a-v1-1 10.1.0.1:7"]);
    let told = step(&mut world, &mut targets, vec![remove(Kind::ServiceConfig, "a")]);
    assert_eq!(told, ["default/a-v1-1 -"]);
}

#[test]
fn without_a_tcp_port_there_is_nothing_to_check() {
    let (mut world, mut targets) = (world(), Targets::default());
    let mut udp = service("a", &[1], &[53]);
    udp.ports[0].protocol = Protocol::Udp;
    let changes = vec![put(udp), put(here("a", 1)), checked("a", check())];
    assert_eq!(step(&mut world, &mut targets, changes), [""; 0]);
    let other = HealthCheck { port: Some(port(7)), ..check() };
    let told = step(&mut world, &mut targets, vec![checked("a", other)]);
    assert_eq!(told, ["default/a-v1-1 10.1.0.1:7"]);
}

#[test]
fn an_endpoint_at_the_address_of_a_service_is_told_apart() {
    let (mut world, mut targets) = (world(), Targets::default());
    let mut own = here("a", 1);
    own.address = "10.96.0.9".parse().unwrap();
    let changes = vec![put(service("a", &[1], &[80])), put(own), checked("a", check())];
    let told = step(&mut world, &mut targets, changes);
    assert_eq!(told, ["default/a-v1-1 10.96.0.9:8080"]);
    assert!(!targets.has_direct());
    let told = step(&mut world, &mut targets, vec![put(service("b", &[9], &[8080]))]);
    assert_eq!(told, ["default/a-v1-1 10.96.0.9:8080 direct"]);
    assert!(targets.has_direct());
    let told = step(&mut world, &mut targets, vec![remove(Kind::Service, "b")]);
    assert_eq!(told, ["default/a-v1-1 10.96.0.9:8080"]);
    assert!(!targets.has_direct());
}

fn change() -> impl Strategy<Value = Change> {
    let text = prop_oneof![Just("a"), Just("b")];
    let node = prop_oneof![Just("n1"), Just("n2")];
    prop_oneof![
        (text.clone(), 1u8..4, 80u16..82)
            .prop_map(|(text, vip, number)| { put(service(text, &[vip], &[number])) }),
        // The same name in either service, some at addresses of services.
        (text.clone(), node, 1u8..4, any::<bool>()).prop_map(|(text, node, last, vip)| {
            let mut endpoint = here(text, last);
            endpoint.name = name(&format!("e{last}"));
            endpoint.node = Some(label(node));
            if vip {
                endpoint.address = format!("10.96.0.{last}").parse().unwrap();
                endpoint.ports = [("p80".parse().unwrap(), port(81))].into();
            }
            put(endpoint)
        }),
        (text.clone(), proptest::option::of(79u16..82)).prop_map(|(text, number)| {
            checked(text, HealthCheck { port: number.map(port), ..check() })
        }),
        (1u8..4).prop_map(|last| remove(Kind::Endpoint, &format!("e{last}"))),
        text.clone().prop_map(|text| remove(Kind::Service, text)),
        text.prop_map(|text| remove(Kind::ServiceConfig, text)),
    ]
}

proptest! {
    #[test]
    fn step_by_step_comes_to_the_same_as_at_once(
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..4), 1..20),
    ) {
        let (mut world, mut targets) = (world(), Targets::default());
        let mut told: HashMap<ObjectName, Target> = HashMap::new();
        for batch in batches {
            for change in batch {
                world.apply(change);
            }
            world.take_changed();
            let changed = world.take_to_check();
            let frontends = all_frontends(&world);
            let is_frontend = |address| frontends.contains(&address);
            for (name, target) in targets.update(&world, &changed, is_frontend) {
                match target {
                    Some(target) => told.insert(name, target),
                    None => told.remove(&name),
                };
            }
            let everything: Vec<_> = world.groups().map(|(id, _)| id).collect();
            let mut fresh = Targets::default();
            fresh.update(&world, &everything, is_frontend);
            prop_assert_eq!(&told, &fresh.all);
            prop_assert_eq!(targets.has_direct(), fresh.has_direct());
            prop_assert_eq!(&targets.at, &fresh.at);
        }
    }
}
