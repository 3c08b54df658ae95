//! Compilation under test: who gets what, what keeps its index, what is refused.

use mesh_common::backend::BackendIndex;
use mesh_common::service::ServiceFlags;
use proptest::prelude::*;

use super::*;
use crate::testing::{LIMITS, config, endpoint, put, service, world};
use crate::world::Change;

fn compiled(world: &World, actual: &MapImage) -> Output {
    compile(&Input { world, actual, limits: LIMITS, stamp: 1 })
}

fn world_of(changes: impl IntoIterator<Item = Change>) -> World {
    let mut world = World::default();
    for change in changes {
        world.apply(change);
    }
    world
}

/// Share of each backend address's last byte, over all slots of the service.
fn split(output: &Output, index: u32) -> BTreeMap<u8, f64> {
    let head = output.image.services[&ServiceIndex { index }];
    let mut split = BTreeMap::new();
    let mut add = |backend: BackendIndex, part: f64| {
        let last = output.image.backends[&backend].addr.octets[15];
        *split.entry(last).or_insert(0.0) += part / f64::from(head.slot_count);
    };
    for slot in output.image.table(&head) {
        let part = f64::from(slot.threshold) / 2f64.powi(32);
        add(slot.backend, part);
        add(slot.alias, 1.0 - part);
    }
    split
}

fn assert_close(split: &BTreeMap<u8, f64>, expected: &[(u8, f64)]) {
    assert_eq!(split.len(), expected.len(), "{split:?}");
    for (last, share) in expected {
        assert!((split[last] - share).abs() < 1e-6, "{split:?} instead of {expected:?}");
    }
}

#[test]
fn rule_weights_and_endpoint_weights_multiply() {
    let world = world_of([
        put(service("a", &[1], &[80])),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("a", "v1", 2, 3)),
        put(endpoint("a", "v2", 3, 7)),
        put(config("a", &[("v1", 90), ("v2", 10)])),
    ]);
    let output = compiled(&world, &MapImage::default());
    assert_close(&split(&output, 1), &[(1, 0.225), (2, 0.675), (3, 0.1)]);
    assert_eq!(output.warnings, Vec::<String>::new());
}

#[test]
fn a_rule_without_endpoints_leaves_its_share_and_says_so() {
    let world = world_of([
        put(service("a", &[1], &[80])),
        put(endpoint("a", "v1", 1, 1)),
        put(endpoint("a", "v2", 2, 1)),
        put(config("a", &[("v1", 30), ("v2", 20), ("v3", 50)])),
    ]);
    let output = compiled(&world, &MapImage::default());
    assert_close(&split(&output, 1), &[(1, 0.6), (2, 0.4)]);
    assert!(output.warnings[0].contains("default/a version v3"), "{:?}", output.warnings);
}

#[test]
fn without_endpoints_the_service_is_there_and_has_no_slots() {
    let world = world_of([put(service("a", &[1], &[80]))]);
    let image = compiled(&world, &MapImage::default()).image;
    let head = image.services[&ServiceIndex { index: 1 }];
    assert_eq!((head.slot_count, head.refusal()), (0, 113));
    assert_eq!(head.flags, ServiceFlags::default());
    assert_eq!(image.frontends.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_the_rest_is_served() {
    let limits = Limits { backends: 3, ..LIMITS };
    let mut world = world_of([put(service("a", &[1], &[80])), put(service("b", &[2], &[80]))]);
    let first = compile(&Input { world: &world, actual: &MapImage::default(), limits, stamp: 1 });
    for last in 1..4 {
        world.apply(put(endpoint("a", "v1", last, 1)));
    }
    world.apply(put(endpoint("b", "v1", 9, 1)));
    let output = compile(&Input { world: &world, actual: &first.image, limits, stamp: 2 });
    assert_eq!(output.rejections.len(), 2, "{:?}", output.rejections);
    let rejection = &output.rejections[0];
    assert_eq!(rejection.object.to_string(), "Service default/a");
    assert_eq!(
        rejection.message,
        "port 80: backends are used up (3): start the agent with a higher --max-backends"
    );
    // What was there stays.
    assert_eq!(output.image.frontends, first.image.frontends);
    assert_eq!(output.image.services, first.image.services);
}

#[test]
fn what_the_programs_do_not_do_is_refused_by_name() {
    let mut udp = service("a", &[1], &[53]);
    udp.ports[0].protocol = Protocol::Udp;
    let mut v6 = service("b", &[2], &[80]);
    v6.vips.push("fd00::1".parse().unwrap());
    let output = compiled(&world_of([put(udp), put(v6)]), &MapImage::default());
    let said: Vec<String> = output.rejections.iter().map(|it| it.message.clone()).collect();
    assert_eq!(
        said,
        [
            "port 53: this agent does not serve UDP yet",
            "port 80: this agent does not serve IPv6 yet"
        ]
    );
    assert_eq!(output.image, MapImage::default());
}

#[test]
fn two_services_cannot_share_an_address() {
    let world = world_of([put(service("a", &[1], &[80])), put(service("b", &[1], &[80]))]);
    let output = compiled(&world, &MapImage::default());
    assert_eq!(output.rejections.len(), 1);
    assert_eq!(output.rejections[0].object.to_string(), "Service default/b");
    assert!(output.rejections[0].message.contains("10.96.0.1:80 is already taken"));
}

proptest! {
    #[test]
    fn compiling_again_changes_nothing(world in world()) {
        let first = compiled(&world, &MapImage::default());
        let again = compiled(&world, &first.image);
        prop_assert_eq!(first.image, again.image);
        prop_assert_eq!(first.names, again.names);
    }

    #[test]
    fn an_image_refers_only_to_itself(before in world(), after in world()) {
        let before = compiled(&before, &MapImage::default()).image;
        let image = compiled(&after, &before).image;
        for service in image.frontends.values() {
            prop_assert!(image.services.contains_key(service));
        }
        for (index, head) in &image.services {
            let table: Vec<&Slot> = image.table(head).collect();
            prop_assert_eq!(table.len(), head.slot_count as usize);
            for slot in table {
                prop_assert_eq!(slot.service, *index);
                for backend in [slot.backend, slot.alias] {
                    prop_assert_eq!(image.backends[&backend].service, *index);
                }
            }
        }
    }

    #[test]
    fn what_is_rewritten_is_free_or_a_head(before in world(), after in world()) {
        let before = compiled(&before, &MapImage::default()).image;
        let image = compiled(&after, &before).image;
        for (index, backend) in &image.backends {
            if let Some(old) = before.backends.get(index) {
                prop_assert_eq!(old, backend);
            }
        }
        for (at, slot) in &image.slots {
            if let Some(old) = before.slots.get(at) {
                prop_assert_eq!(old, slot);
            }
        }
    }
}
