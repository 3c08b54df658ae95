//! Which backends are on this node, and whose connections to them are accelerated.

use mesh_api::model::{Acceleration, Endpoint, EndpointState, ServiceConfig};
use mesh_common::backend::BackendFlags;

use super::order::Recording;
use super::*;
use crate::testing::{at_level, config};

const HERE: u8 = 0;
const ELSEWHERE: u8 = 1;

/// The endpoint of [`FIRST`], on this node or another one.
fn at(level: u8) -> Endpoint {
    at_level(endpoint("a", "v1", 1, 1), level)
}

/// What is written to get to the changes, and the flags that the backend has then.
fn after(
    reconciler: &mut Reconciler<Recording<MemoryMaps>>,
    change: Change,
) -> (Vec<MapOp>, BackendFlags) {
    reconciler.maps_mut().ops.clear();
    reconciler.change([change]);
    reconciler.install(2).unwrap();
    let ops = reconciler.maps().ops.clone();
    reconciler.retire(NOW).unwrap();
    assert_eq!(reconciler.maps().read().unwrap(), *reconciler.actual());
    (ops, reconciler.actual().backends.at(FIRST).flags)
}

fn started(first: Endpoint) -> Reconciler<Recording<MemoryMaps>> {
    let mut reconciler = opened_over(Recording::new(MemoryMaps::new(LIMITS)));
    // Another one, which keeps the service's table from being empty.
    let other = at_level(endpoint("a", "v1", 2, 1), ELSEWHERE);
    reconciler.change([put(service("a", &[1], &[80])), put(first), put(other)]);
    reconciler.install(1).unwrap();
    reconciler.retire(NOW).unwrap();
    reconciler
}

#[test]
fn a_backend_says_whether_its_endpoint_is_on_this_node() {
    let reconciler = started(at(HERE));
    let flags = |index| reconciler.actual().backends.at(BackendIndex { index }).flags;
    assert_eq!((flags(1), flags(2)), (BackendFlags::LOCAL, BackendFlags::default()));
    // Nobody knows where it is.
    let reconciler = started(endpoint("a", "v1", 1, 1));
    assert_eq!(reconciler.actual().backends.at(FIRST).flags, BackendFlags::default());
}

#[test]
fn an_endpoint_that_moves_takes_one_write() {
    let mut reconciler = started(at(ELSEWHERE));
    for (level, flags) in [
        (HERE, BackendFlags::LOCAL),
        (ELSEWHERE, BackendFlags::default()),
        (HERE, BackendFlags::LOCAL),
    ] {
        let (ops, now) = after(&mut reconciler, put(at(level)));
        assert_eq!((ops, now), (vec![MapOp::SetBackendFlags(FIRST, flags)], flags));
    }
    // Another weight is no other place.
    let (ops, now) = after(&mut reconciler, put(Endpoint { weight: 7, ..at(HERE) }));
    assert!(!ops.iter().any(|op| matches!(op, MapOp::SetBackendFlags(..))), "{ops:?}");
    assert_eq!(now, BackendFlags::LOCAL);
}

#[test]
fn it_says_so_while_it_drains_but_not_when_it_is_gone() {
    let mut reconciler = started(at(HERE));
    let draining = |level| Endpoint { state: EndpointState::Draining, ..at(level) };
    let set = |flags| MapOp::SetBackendFlags(FIRST, flags);
    let both = BackendFlags::DRAINING.bits | BackendFlags::LOCAL.bits;
    let local = BackendFlags { bits: both };
    let (ops, now) = after(&mut reconciler, put(draining(HERE)));
    assert!(ops.contains(&set(local)) && now == local, "{ops:?}");
    assert!(!now.takes_new() && now.keeps_old());
    let (ops, now) = after(&mut reconciler, put(draining(ELSEWHERE)));
    assert_eq!((ops, now), (vec![set(BackendFlags::DRAINING)], BackendFlags::DRAINING));
    let (_, now) = after(&mut reconciler, put(draining(HERE)));
    assert_eq!(now, local);
    let (_, now) = after(&mut reconciler, put(at(HERE)));
    assert_eq!(now, BackendFlags::LOCAL);

    reconciler
        .maps_mut()
        .maps
        .count(FIRST, BackendCounters { attempts: 1, opened: 1, ..BackendCounters::default() });
    let (_, now) = after(&mut reconciler, remove_endpoint());
    assert_eq!(now, BackendFlags::REMOVED);
    // The maps are read again: nothing is written for it.
    reconciler.unsure = true;
    let (ops, now) = after(&mut reconciler, remove_endpoint());
    assert_eq!((ops, now), (vec![], BackendFlags::REMOVED));
    let (ops, now) = after(&mut reconciler, put(at(HERE)));
    assert!(ops.contains(&set(BackendFlags::LOCAL)) && now == BackendFlags::LOCAL, "{ops:?}");
}

#[test]
fn acceleration_is_one_write_of_the_head() {
    let mut reconciler = started(at(HERE));
    for acceleration in [Acceleration::On, Acceleration::Off] {
        let config = ServiceConfig { acceleration, ..config("a", &[]) };
        let (ops, _) = after(&mut reconciler, put(config));
        let on = acceleration == Acceleration::On;
        // The switch is on before it and off after it.
        let (switch, head) = match ops.as_slice() {
            [MapOp::Accelerate(true), MapOp::PutService(_, head)] => (true, head),
            [MapOp::PutService(_, head), MapOp::Accelerate(false)] => (false, head),
            other => panic!("{other:?}"),
        };
        assert_eq!((switch, head.flags.contains(ServiceFlags::ACCELERATED)), (on, on));
        let dumped = reconciler.actual().to_string();
        assert_eq!(dumped.contains("errno-113 ACCELERATED\n"), on, "{dumped}");
        assert!(dumped.contains("BACKEND 1 10.1.0.1:8080 SERVICE=1 LOCAL\n"), "{dumped}");
        assert!(dumped.contains("BACKEND 2 10.1.0.2:8080 SERVICE=1\n"), "{dumped}");
    }
}

/// By address: whether an endpoint there is on this node, and whether one is elsewhere.
fn places(objects: &Objects) -> BTreeSet<(std::net::IpAddr, bool)> {
    let node = here().node;
    objects.endpoints.values().map(|it| (it.address, it.node == node)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever came before, a backend with an endpoint is marked as the endpoint is, and one
    /// without is not.
    #[test]
    fn only_endpoints_of_this_node_are_marked(before in world(), after in world()) {
        let mut reconciler = fresh(&before);
        reconciler.change(changes(&before, &after));
        reconciler.install(2).unwrap();
        prop_assume!(reconciler.report().rejections.is_empty());
        let places = places(&after);
        for (_, backend) in reconciler.actual().backends.iter() {
            let local = backend.flags.contains(BackendFlags::LOCAL);
            if backend.flags.keeps_old() {
                prop_assert!(places.contains(&(backend.addr.to_ip(), local)), "{:?}", backend);
            } else {
                prop_assert!(!local, "{:?}", backend);
            }
        }
    }

    /// Accelerated are the TCP ports of the services that say so.
    #[test]
    fn only_tcp_is_accelerated(objects in world()) {
        let reconciler = fresh(&objects);
        prop_assume!(reconciler.report().rejections.is_empty());
        for (key, index) in &reconciler.actual().frontends {
            let holder = objects.services.values().find(|service| {
                let port = |port: &mesh_api::model::ServicePort| {
                    port.port.get() == key.port && port.protocol.number() == key.proto
                };
                service.vips.contains(&key.addr.to_ip()) && service.ports.iter().any(port)
            });
            let config = objects.configs.get(&holder.unwrap().name);
            let says = |value| config.is_some_and(|config| config.acceleration == value);
            let (on, auto) = (says(Acceleration::On), says(Acceleration::Auto));
            let head = reconciler.actual().services.at(*index);
            let is = head.flags.contains(ServiceFlags::ACCELERATED);
            prop_assert_eq!(is, (on || auto) && key.proto == 6);
            prop_assert_eq!(head.flags.contains(ServiceFlags::AUTO), auto && key.proto == 6);
        }
    }
}
