//! The switch of acceleration: on whenever a service of the world's asks, and off where none does.

use mesh_api::model::{Acceleration, ServiceConfig};

use super::order::Recording;
use super::*;
use crate::maps::faulty::FaultyMaps;
use crate::testing::config;

fn asking(service: &str, acceleration: Acceleration) -> Change {
    put(ServiceConfig { acceleration, ..config(service, &[]) })
}

/// The operations that turn it or write heads, and what the heads say.
fn turns(reconciler: &Reconciler<Recording<MemoryMaps>>) -> Vec<&'static str> {
    let ops = reconciler.maps().ops.iter();
    let short = |op: &MapOp| {
        if let MapOp::Accelerate(on) = op {
            Some(if *on { "on" } else { "off" })
        } else if let MapOp::PutService(_, head) = op {
            Some(if asks(head) { "asks" } else { "asks not" })
        } else {
            matches!(op, MapOp::ClearService(_)).then_some("gone")
        }
    };
    ops.filter_map(short).collect()
}

fn asks(head: &mesh_common::service::ServiceHead) -> bool {
    head.flags.contains(ServiceFlags::ACCELERATED)
}

fn after(
    reconciler: &mut Reconciler<Recording<MemoryMaps>>,
    changes: impl IntoIterator<Item = Change>,
) -> Vec<&'static str> {
    reconciler.maps_mut().ops.clear();
    reconciler.change(changes);
    reconciler.install(2).unwrap();
    reconciler.retire(NOW).unwrap();
    turns(reconciler)
}

fn two_services() -> Reconciler<Recording<MemoryMaps>> {
    let mut reconciler = opened_over(Recording::new(MemoryMaps::new(LIMITS)));
    let both = [put(service("a", &[1], &[80])), put(service("b", &[2], &[80]))];
    assert_eq!(after(&mut reconciler, both), ["asks not", "asks not"]);
    reconciler
}

#[test]
fn it_is_on_from_before_the_first_that_asks_until_after_the_last() {
    let mut reconciler = two_services();
    let on = |name| asking(name, Acceleration::On);
    assert_eq!(after(&mut reconciler, [on("a")]), ["on", "asks"]);
    assert!(reconciler.actual().accelerating);
    assert!(reconciler.actual().to_string().starts_with("ACCELERATION on\n"));
    assert_eq!(after(&mut reconciler, [on("b")]), ["asks"]);
    assert_eq!(after(&mut reconciler, [asking("a", Acceleration::Off)]), ["asks not"]);
    assert_eq!(after(&mut reconciler, [remove(Kind::Service, "b")]), ["gone", "off"]);
    assert!(!reconciler.actual().accelerating);
    assert!(!reconciler.actual().to_string().contains("ACCELERATION"));
    assert_eq!(after(&mut reconciler, [on("a")]), ["on", "asks"]);
    let off = asking("a", Acceleration::Off);
    assert_eq!(after(&mut reconciler, [off]), ["asks not", "off"]);
    // One begins to ask while the other stops.
    let again = [on("a"), asking("b", Acceleration::Off), put(service("b", &[2], &[80]))];
    assert_eq!(after(&mut reconciler, again)[0], "on");
    let swapped = after(&mut reconciler, [asking("a", Acceleration::Off), on("b")]);
    assert_eq!(swapped.len(), 2, "{swapped:?}");
    assert!(reconciler.actual().accelerating);
}

/// An agent over the maps of another one, whose services ask; `was_on` is what the load left.
fn restarted(was_on: bool, usable: bool, wants: Acceleration) -> (Vec<&'static str>, bool) {
    let mut first = two_services();
    after(&mut first, [asking("a", Acceleration::On)]);
    let mut maps = first.maps().maps.clone();
    maps.apply(&MapOp::Accelerate(was_on)).unwrap();
    let mut next = opened_over(Recording::new(maps));
    next.set_acceleration(usable);
    // Before it knows the world, what asks is left alone.
    next.retire(NOW).unwrap();
    assert_eq!(next.actual().accelerating, was_on && usable);
    let world = [put(service("a", &[1], &[80])), put(service("b", &[2], &[80]))];
    let turns = after(&mut next, world.into_iter().chain([asking("a", wants)]));
    assert_eq!(next.maps().read().unwrap(), *next.actual());
    (turns, next.actual().accelerating)
}

#[test]
fn a_restart_leaves_it_on_and_turns_on_what_was_off() {
    let (on, off) = (Acceleration::On, Acceleration::Off);
    assert_eq!(restarted(true, true, on), (vec![], true));
    assert_eq!(restarted(false, true, on), (vec!["on"], true));
    assert_eq!(restarted(false, true, off), (vec!["asks not"], false));
    assert_eq!(restarted(true, true, off), (vec!["asks not", "off"], false));
    // Off from the load on.
    assert_eq!(restarted(false, false, on), (vec![], false));
    assert_eq!(restarted(true, false, on), (vec![], false));
}

#[test]
fn the_agents_own_services_do_not_count() {
    let mut reconciler = two_services();
    let mut own = MapImage::default();
    let head = mesh_common::service::ServiceHead {
        flags: ServiceFlags::ACCELERATED,
        ..mesh_common::service::ServiceHead::default()
    };
    own.services.insert(mesh_common::service::ServiceIndex { index: LIMITS.services }, head);
    reconciler.put_canary(own).unwrap();
    assert_eq!(after(&mut reconciler, []), [] as [&str; 0]);
    // Also where they are read from the maps.
    reconciler.unsure = true;
    assert_eq!(after(&mut reconciler, []), [] as [&str; 0]);
    assert!(!reconciler.maps().read().unwrap().accelerating);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Between any two operations, and whichever of them fails, it is on where a service asks; and it
    /// is off once none does.
    #[test]
    fn whoever_asks_finds_it_on(
        worlds in prop::collection::vec(world(), 1..5),
        fail_at in 0usize..60,
        usable in prop::bool::weighted(0.9),
    ) {
        let maps = Recording::new(FaultyMaps::new(MemoryMaps::new(LIMITS), fail_at));
        let mut reconciler = opened_over(maps);
        reconciler.set_acceleration(usable);
        let mut before = Objects::default();
        for (stamp, objects) in (1..).zip(worlds.iter().chain([&Objects::default()])) {
            reconciler.change(changes(&before, objects));
            while reconciler.install(stamp).is_err() {}
            if reconciler.retire(NOW).is_err() {
                while reconciler.install(stamp).is_err() {}
                reconciler.retire(NOW).unwrap();
            }
            let image = reconciler.maps().read().unwrap();
            let asked = image.services.iter().any(|(_, head)| asks(head));
            prop_assert_eq!(image.accelerating, asked && usable);
            before = objects.clone();
        }
        let mut image = MapImage::default();
        for op in &reconciler.maps().ops {
            op.apply_to(&mut image);
            let asked = image.services.iter().any(|(_, head)| asks(head));
            prop_assert!(image.accelerating || !asked || !usable, "{:?}", op);
            prop_assert!(usable || !image.accelerating);
        }
    }
}
