//! Single rules by example, and whatever is accepted keeps the world sound.

use std::collections::BTreeSet;

use mesh_api::model::{Kind, ObjectName, Port, Protocol};
use proptest::prelude::*;

use super::*;
use crate::testing::{config, endpoint, name, service};
use crate::world::frontends;

fn world(objects: impl IntoIterator<Item = Object>) -> World {
    let stored = |object| Stored { object, resource_version: 1 };
    World::new(1, objects.into_iter().map(stored))
}

fn shop() -> World {
    world([
        service("shop/web", "10.0.0.1", 80),
        service("shop/db", "10.0.0.2", 5432),
        endpoint("shop/web-1", "web", "v1"),
        endpoint("shop/web-2", "web", "v2"),
        config("shop/web", &[("", "v1", 1), ("", "v2", 1)]),
    ])
}

fn of(kind: Kind, text: &str) -> ObjectRef {
    let name = name(text);
    ObjectRef { kind, name }
}

/// Index, field and reason of all violations.
fn refused(world: &World, batch: &Batch) -> Vec<(usize, String, Reason)> {
    match plan(world, batch) {
        Err(Refusal::Violations(found)) => {
            let found = found.into_iter();
            found.map(|it| (it.index, it.field, it.reason)).collect()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn one(index: usize, field: &str, reason: Reason) -> Vec<(usize, String, Reason)> {
    vec![(index, field.to_owned(), reason)]
}

#[test]
fn a_frontend_can_be_handed_over_in_one_batch() {
    let shop = shop();
    let take = service("shop/new", "10.0.0.1", 80);
    let batch = Batch::put([take.clone()]);
    assert_eq!(refused(&shop, &batch), one(0, "spec.vips[0]", Reason::Conflict));
    // Another port of the same address is free.
    plan(&shop, &Batch::put([service("shop/new", "10.0.0.1", 81)])).unwrap();
    // In either order.
    let leave = service("shop/web", "10.0.0.9", 80);
    for objects in [[take.clone(), leave.clone()], [leave, take.clone()]] {
        let plan = plan(&shop, &Batch::put(objects)).unwrap();
        let port = Port::try_from(80).unwrap();
        let frontend = ("10.0.0.1".parse().unwrap(), port, Protocol::Tcp);
        assert_eq!(plan.world.holder(frontend), Some(&name("shop/new")));
    }
    // And is free after a deletion.
    let mut batch = Batch::put([take]);
    for reference in [of(Kind::Service, "shop/web"), of(Kind::ServiceConfig, "shop/web")] {
        batch.changes.push(Change {
            index: batch.changes.len(),
            write: Write::Delete(reference),
            expected: Expected::Any,
        });
    }
    plan(&shop, &batch).unwrap();
}

#[test]
fn a_frontend_is_an_address_a_port_and_a_protocol() {
    let on = |name: &str, address: &str, protocol| {
        let Object::Service(mut it) = service(name, address, 53) else { panic!("kind") };
        it.ports[0].protocol = protocol;
        Object::Service(it)
    };
    let world = world([on("shop/dns", "10.0.0.1", Protocol::Udp)]);
    plan(&world, &Batch::put([on("shop/tcp", "10.0.0.1", Protocol::Tcp)])).unwrap();
    plan(&world, &Batch::put([on("shop/six", "fd00::1", Protocol::Udp)])).unwrap();
    let Err(Refusal::Violations(found)) =
        plan(&world, &Batch::put([on("shop/thief", "::ffff:10.0.0.1", Protocol::Udp)]))
    else {
        panic!("refused");
    };
    assert_eq!(
        found[0].message,
        "10.0.0.1 port 53 (spec.ports[0], UDP) already belongs to Service shop/dns"
    );
}

#[test]
fn two_claims_in_one_batch_are_said_once_each() {
    let batch = Batch::put([
        service("shop/a", "10.0.0.5", 80),
        service("shop/b", "10.0.0.5", 80),
        service("shop/c", "10.0.0.1", 80),
    ]);
    let expected = vec![
        (1, "spec.vips[0]".to_owned(), Reason::Duplicate),
        (2, "spec.vips[0]".to_owned(), Reason::Conflict),
    ];
    assert_eq!(refused(&shop(), &batch), expected);
}

#[test]
fn destinations_exist_when_they_are_stored() {
    let shop = shop();
    let put = |rules: &[(&str, &str, u32)]| Batch::put([config("shop/web", rules)]);
    let version = "spec.trafficRules[0].destination.version";
    let missing = Reason::MissingReference;
    assert_eq!(refused(&shop, &put(&[("", "v9", 1)])), one(0, version, missing));
    let rule = &[("gone", "v1", 1)];
    let field = "spec.trafficRules[0].destination.service";
    assert_eq!(refused(&shop, &put(rule)), one(0, field, missing));
    plan(&shop, &put(&[("db", "", 1)])).unwrap();
    assert_eq!(refused(&shop, &put(&[("db", "v1", 1)])), one(0, version, missing));
    let alone = Batch::put([config("shop/nobody", &[])]);
    assert_eq!(refused(&shop, &alone), one(0, "metadata.name", missing));

    // With its endpoint in the same batch, before or after.
    let objects = [config("shop/web", &[("", "v9", 1)]), endpoint("shop/e", "web", "v9")];
    plan(&shop, &Batch::put(objects)).unwrap();
    // The message helps.
    let Err(Refusal::Violations(found)) = plan(&shop, &put(&[("", "v9", 1)])) else {
        panic!("refused");
    };
    assert!(found[0].message.contains("v1, v2"), "{}", found[0]);
}

#[test]
fn endpoints_come_and_go() {
    let shop = shop();
    let gone = Batch::delete([of(Kind::Endpoint, "shop/web-2")]);
    let without = plan(&shop, &gone).unwrap().world;
    // What the stored config has already stays valid; what is new must exist.
    let weights = config("shop/web", &[("", "v1", 5), ("", "v2", 1)]);
    let without = plan(&without, &Batch::put([weights])).unwrap().world;
    let only = config("shop/web", &[("", "v1", 5)]);
    let without = plan(&without, &Batch::put([only])).unwrap().world;
    let back = Batch::put([config("shop/web", &[("", "v1", 5), ("", "v2", 1)])]);
    let field = "spec.trafficRules[1].destination.version";
    assert_eq!(refused(&without, &back), one(0, field, Reason::MissingReference));
}

#[test]
fn what_is_referred_to_stays() {
    let elsewhere = config("shop/db", &[("web", "", 1), ("db", "", 1)]);
    let shop = plan(&shop(), &Batch::put([elsewhere])).unwrap().world;
    let batch = Batch::delete([of(Kind::Service, "shop/web")]);
    let Err(Refusal::Violations(found)) = plan(&shop, &batch) else {
        panic!("refused");
    };
    assert!(found[0].message.contains("shop/db, shop/web"), "{}", found[0]);
    assert_eq!(found[0].reason, Reason::Conflict);
    let all = Batch::delete([
        of(Kind::Service, "shop/web"),
        of(Kind::ServiceConfig, "shop/web"),
        of(Kind::ServiceConfig, "shop/db"),
    ]);
    plan(&shop, &all).unwrap();
}

#[test]
fn stale_absent_and_duplicate() {
    let shop = shop();
    let put = |text: &str, expected| Batch {
        changes: vec![Change {
            index: 0,
            write: Write::Put(service(text, "10.0.0.7", 80)),
            expected,
        }],
        ..Batch::default()
    };
    let stale = one(0, "metadata.resourceVersion", Reason::Stale);
    assert_eq!(refused(&shop, &put("shop/web", Expected::Version(2))), stale);
    assert_eq!(refused(&shop, &put("shop/new", Expected::Version(1))), stale);
    plan(&shop, &put("shop/web", Expected::Version(1))).unwrap();

    let gone = of(Kind::Endpoint, "shop/gone");
    let delete = Batch::delete([of(Kind::Endpoint, "shop/web-1"), gone.clone()]);
    assert_eq!(plan(&shop, &delete).unwrap_err(), Refusal::Absent(vec![gone]));

    let twice = Batch::put([service("shop/x", "10.0.0.7", 1), service("shop/x", "10.0.0.8", 1)]);
    assert_eq!(refused(&shop, &twice), one(1, "metadata.name", Reason::Duplicate));
}

#[test]
fn an_empty_or_unchanged_batch_is_no_revision() {
    let shop = shop();
    for batch in [Batch::default(), Batch::put([service("shop/web", "10.0.0.1", 80)])] {
        let plan = plan(&shop, &batch).unwrap();
        assert!(!plan.changes_something());
        assert_eq!(plan.world.revision(), 1);
    }
}

fn write() -> impl Strategy<Value = Write> {
    let services = (0..4_u8, 0..3_u8, 80..82_u32);
    let versions = (0..4_u8, 0..3_u8, 0..3_u8);
    let rules = prop::collection::btree_map((0..4_u8, 0..4_u8), 1..5_u32, 0..3);
    let kinds = prop_oneof![Just(Kind::Service), Just(Kind::Endpoint), Just(Kind::ServiceConfig)];
    prop_oneof![
        3 => services.prop_map(|(at, vip, port)| {
            Write::Put(service(&format!("shop/s-{at}"), &format!("10.0.0.{vip}"), port))
        }),
        3 => (versions, any::<(bool, bool)>()).prop_map(|((at, service, version), (v6, near))| {
            let version = format!("v{version}");
            let of = format!("s-{service}");
            let Object::Endpoint(mut it) = endpoint(&format!("shop/e-{at}"), &of, &version) else {
                panic!("kind");
            };
            if v6 {
                it.address = "fd00::1".parse().unwrap();
            }
            it.node = near.then(|| "n".parse().unwrap());
            it.locality.zone = (near && v6).then(|| "z".parse().unwrap());
            Write::Put(Object::Endpoint(it))
        }),
        3 => (0..4_u8, rules).prop_map(|(at, rules)| {
            let text = |(service, version): (u8, u8)| (format!("s-{service}"), format!("v{version}"));
            let rules: Vec<_> = rules.into_iter().map(|(to, weight)| (text(to), weight)).collect();
            let rules: Vec<(&str, &str, u32)> = rules
                .iter()
                .map(|((service, version), weight)| {
                    let version = if version == "v3" { "" } else { version };
                    (service.as_str(), version, *weight)
                })
                .collect();
            Write::Put(config(&format!("shop/s-{at}"), &rules))
        }),
        2 => (kinds, 0..4_u8).prop_map(|(kind, at)| {
            let letter = if kind == Kind::Endpoint { 'e' } else { 's' };
            Write::Delete(of(kind, &format!("shop/{letter}-{at}")))
        }),
    ]
}

/// Everything that must hold of what is stored.
fn assert_sound(world: &World) {
    let mut held = BTreeSet::new();
    for stored in world.list(Kind::Service, None) {
        let Object::Service(service) = &stored.object else {
            panic!("kind");
        };
        for (frontend, ..) in frontends(service) {
            assert!(held.insert(frontend), "{frontend:?} is held twice");
            assert_eq!(world.holder(frontend), Some(&service.name));
        }
    }
    for stored in world.list(Kind::ServiceConfig, None) {
        let Object::ServiceConfig(config) = &stored.object else {
            panic!("kind");
        };
        let rules = config.traffic_rules.iter();
        let named = rules.map(|rule| &rule.destination.service);
        for service in named.chain([&config.name]) {
            assert!(world.has_service(service), "{service} is missing");
            assert!(world.referrers(service).any(|it| *it == config.name));
        }
    }
}

/// The indexes are what they would be if the world were made anew.
fn assert_indexed(world: &World) {
    let objects = Kind::ALL.into_iter().flat_map(|kind| world.list(kind, None));
    let fresh = World::new(world.revision(), objects.map(|stored| (**stored).clone()));
    let services = (0..4).map(|at| name(&format!("shop/s-{at}")));
    for service in services {
        let referrers =
            |world: &World| -> Vec<ObjectName> { world.referrers(&service).cloned().collect() };
        assert_eq!(referrers(world), referrers(&fresh));
        let versions = |world: &World| -> Vec<String> {
            world.versions(&service).map(|it| format!("{it:?}")).collect()
        };
        assert_eq!(versions(world), versions(&fresh));
        assert_eq!(world.endpoints_of(&service), fresh.endpoints_of(&service));
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_sound(
        batches in prop::collection::vec(prop::collection::vec(write(), 1..6), 1..20),
    ) {
        let mut world = World::default();
        for writes in batches {
            let change = |(index, write)| Change { index, write, expected: Expected::Any };
            let batch = Batch {
                changes: writes.into_iter().enumerate().map(change).collect(),
                ..Batch::default()
            };
            let before = world.clone();
            match plan(&world, &batch) {
                Ok(plan) => {
                    let something = u64::from(plan.changes_something());
                    prop_assert_eq!(plan.world.revision(), before.revision() + something);
                    for (change, outcome) in batch.changes.iter().zip(&plan.outcomes) {
                        let now = plan.world.get(&change.reference());
                        prop_assert_eq!(now, outcome.after.as_ref());
                        prop_assert_eq!(before.get(&change.reference()), outcome.before.as_ref());
                    }
                    world = plan.world;
                }
                Err(Refusal::Violations(found)) => prop_assert!(!found.is_empty()),
                Err(Refusal::Absent(absent)) => prop_assert!(!absent.is_empty()),
            }
            assert_sound(&world);
            assert_indexed(&world);
        }
    }
}
