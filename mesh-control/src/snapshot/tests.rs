//! An incremental snapshot is the one that a build from nothing gives, and shares what it can.

use std::sync::Arc;

use mesh_api::resource::{ENDPOINT, SERVICE, SERVICE_CONFIG};
use proptest::prelude::*;

use super::*;
use crate::testing::{config, endpoint, service};
use crate::world::Stored;

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        (0..3_u8, 1..4_u8).prop_map(|(at, vip)| {
            service(&format!("shop/s-{at}"), &format!("10.0.{at}.{vip}"), 80)
        }),
        (0..5_u8, 0..3_u8).prop_map(|(at, version)| {
            endpoint(&format!("shop/e-{at}"), "s-0", &format!("v{version}"))
        }),
        (0..3_u8, 1..4_u32)
            .prop_map(|(at, weight)| { config(&format!("shop/s-{at}"), &[("", "v1", weight)]) }),
    ]
}

proptest! {
    #[test]
    fn updating_is_building(steps in prop::collection::vec((object(), any::<bool>()), 0..40)) {
        let mut world = World::default();
        let mut snapshot = build(&world);
        for (chunk, revision) in steps.chunks(3).zip(1..) {
            let mut changed = Vec::new();
            for (object, keep) in chunk {
                changed.push(object.reference());
                if *keep {
                    let object = object.clone();
                    world.put(Stored { object, resource_version: revision });
                } else {
                    world.remove(&object.reference());
                }
            }
            world.set_revision(revision);
            snapshot = update(&snapshot, &world, &changed);
            let fresh = build(&world);
            prop_assert_eq!(snapshot.revision(), revision);
            for url in [ENDPOINT, SERVICE_CONFIG, SERVICE, REVISION] {
                let updated = snapshot.resources(url).map(|it| (**it).clone());
                let built = fresh.resources(url).map(|it| (**it).clone());
                prop_assert_eq!(updated.unwrap_or_default(), built.unwrap_or_default());
            }
        }
    }
}

#[test]
fn what_did_not_change_is_shared() {
    let objects = [service("shop/web", "10.0.0.1", 80), endpoint("shop/web-1", "web", "v1")];
    let stored = |object| Stored { object, resource_version: 1 };
    let mut world = World::new(1, objects.clone().map(stored));
    let first = build(&world);
    let Object::Service(mut labelled) = objects[0].clone() else {
        panic!("a service");
    };
    labelled.labels.insert("team".to_owned(), "a".to_owned());
    let labelled = Object::Service(labelled);
    world.put(Stored { object: labelled.clone(), resource_version: 2 });
    world.set_revision(2);
    let second = update(&first, &world, [labelled.reference()]);
    for url in [ENDPOINT, SERVICE] {
        assert!(Arc::ptr_eq(first.resources(url).unwrap(), second.resources(url).unwrap()));
    }
    assert_ne!(first.resources(REVISION), second.resources(REVISION));
}
