//! The world under test: what a change touches, and that nothing is left over.

use mesh_api::model::LocalityScope;

use super::*;
use crate::testing::{config_to, endpoint, label, name, put, service};

fn changed(world: &mut World) -> Vec<String> {
    let known: Vec<_> = world.groups().map(|(id, group)| (id, group.name.to_string())).collect();
    let changed = world.take_changed();
    let of = |id: &GroupId| known.iter().find(|(known, _)| known == id).unwrap().1.clone();
    changed.iter().map(of).collect()
}

fn remove(kind: Kind, text: &str) -> Change {
    Change::Remove(ObjectRef { kind, name: name(text) })
}

#[test]
fn a_change_touches_its_service_and_those_that_send_there() {
    let mut world = World::default();
    world.apply(put(service("a", &[1], &[80])));
    world.apply(put(service("b", &[2], &[80])));
    world.apply(put(service("c", &[3], &[80])));
    world.apply(put(config_to("a", &[("b", None, 1)])));
    assert_eq!(changed(&mut world), ["default/a", "default/b", "default/c"]);
    world.apply(put(endpoint("b", "v1", 1, 1)));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    world.apply(put(endpoint("b", "v1", 1, 1)));
    assert_eq!(changed(&mut world), Vec::<String>::new());
    world.apply(remove(Kind::ServiceConfig, "a"));
    world.take_changed();
    world.apply(put(endpoint("b", "v1", 1, 2)));
    assert_eq!(changed(&mut world), ["default/b"]);
}

#[test]
fn what_is_removed_leaves_nothing() {
    let mut world = World::default();
    world.apply(put(service("a", &[1], &[80])));
    world.apply(put(config_to("a", &[("b", None, 1), ("a", None, 1)])));
    world.apply(put(endpoint("a", "v1", 1, 1)));
    world.take_changed();
    world.apply(remove(Kind::Endpoint, "a-v1-1"));
    world.apply(remove(Kind::ServiceConfig, "a"));
    world.apply(remove(Kind::Service, "a"));
    world.take_changed();
    assert_eq!(world.groups().count(), 0);
    assert!(world.ids.is_empty() && world.owners.is_empty());
}

#[test]
fn an_endpoint_that_changes_its_service_leaves_the_old_one() {
    let mut world = World::default();
    world.apply(put(endpoint("a", "v1", 1, 1)));
    let mut moved = endpoint("a", "v1", 1, 1);
    moved.service = name("b");
    world.apply(put(moved));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    assert!(world.find(&name("a")).is_none());
    assert_eq!(world.group(world.find(&name("b")).unwrap()).unwrap().members().len(), 1);
}

#[test]
fn unknown_places_are_near_to_nothing() {
    let here = NodeLocality { region: Some(label("r")), zone: Some(label("z")), node: None };
    let mut there = endpoint("a", "v1", 1, 1);
    assert_eq!(Level::of(&here, &there), Level::Far);
    assert_eq!(Level::of(&NodeLocality::default(), &there), Level::Far);
    there.locality.zone = Some(label("z"));
    assert_eq!(Level::of(&here, &there), Level::Far);
    there.locality.region = Some(label("r"));
    assert_eq!(Level::of(&here, &there), Level::Zone);
    there.locality.zone = Some(label("other"));
    assert_eq!(Level::of(&here, &there), Level::Region);
    assert_eq!(Level::Node.within(LocalityScope::Zone), Level::Zone);
    assert_eq!(Level::Region.within(LocalityScope::Zone), Level::Region);
}

fn said(text: &str, health: impl Into<Option<Health>>) -> Change {
    Change::Health(name(text), health.into())
}

/// Two services that send to the endpoint of one, whose health is checked.
fn checked(slow_start: Option<Duration>) -> World {
    let mut world = World::default();
    world.apply(put(service("a", &[1], &[80])));
    world.apply(put(service("b", &[2], &[80])));
    world.apply(put(config_to("a", &[("b", None, 1)])));
    let mut config = config_to("b", &[]);
    config.health_check = Some(Box::new(crate::testing::health_check(Health::Healthy)));
    config.load_balancer.slow_start = slow_start;
    world.apply(put(config));
    world.apply(put(endpoint("b", "v1", 1, 1)));
    world.take_changed();
    world
}

#[test]
fn health_touches_those_who_send_there_where_it_matters() {
    let mut world = checked(None);
    world.apply(said("b-v1-1", Health::Healthy));
    assert_eq!(changed(&mut world), Vec::<String>::new());
    world.apply(said("b-v1-1", Health::Unhealthy));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    world.apply(said("b-v1-1", None));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.take_changed();
    world.apply(put(config_to("b", &[])));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    world.apply(said("b-v1-1", Health::Healthy));
    assert_eq!(changed(&mut world), Vec::<String>::new());
}

#[test]
fn health_stays_with_the_name_until_it_is_taken_back() {
    let mut world = checked(None);
    let health = |world: &World, service: &str| {
        let group = world.find(&name(service)).and_then(|id| world.group(id)).unwrap();
        group.members().iter().find(|it| it.name.as_str() == "b-v1-1").unwrap().health
    };
    world.apply(remove(Kind::Endpoint, "b-v1-1"));
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.apply(put(endpoint("b", "v1", 1, 1)));
    assert_eq!(health(&world, "b"), Some(Health::Unhealthy));
    let mut moved = endpoint("b", "v1", 1, 1);
    moved.service = name("a");
    world.apply(put(moved));
    assert_eq!(health(&world, "a"), Some(Health::Unhealthy));
    world.apply(remove(Kind::Endpoint, "b-v1-1"));
    world.apply(put(endpoint("b", "v1", 1, 1)));
    assert_eq!(health(&world, "b"), Some(Health::Unhealthy));
    world.apply(remove(Kind::Endpoint, "b-v1-1"));
    world.apply(said("b-v1-1", None));
    assert!(world.absent.is_empty());
}

#[test]
fn a_slow_start_has_ten_steps() {
    let at = Duration::from_secs;
    let mut world = checked(Some(at(10)));
    world.apply(said("b-v1-1", Health::Unhealthy));
    // Before there is a time, everything is as it is.
    world.apply(said("b-v1-1", Health::Healthy));
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.set_time(at(50));
    assert_eq!(world.next_step(), None);
    world.apply(said("b-v1-1", Health::Healthy));
    world.take_changed();
    let mut steps = Vec::new();
    while let Some(step) = world.next_step() {
        steps.push(step);
        world.set_time(world.now.unwrap() + step);
        assert_eq!(changed(&mut world), ["default/b"]);
        world.set_time(world.now.unwrap());
        assert_eq!(changed(&mut world), Vec::<String>::new());
    }
    assert_eq!(steps, [at(1); 9]);
    world.set_time(at(60));
    assert_eq!(changed(&mut world), Vec::<String>::new());
    assert!(world.turning.is_empty());
}

#[test]
fn another_instance_begins_anew() {
    let mut world = checked(Some(Duration::from_secs(10)));
    world.set_time(Duration::ZERO);
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.apply(said("b-v1-1", Health::Healthy));
    assert!(world.next_step().is_some());
    let mut moved = endpoint("b", "v1", 1, 1);
    moved.address = "10.1.0.99".parse().unwrap();
    world.apply(put(moved));
    assert_eq!(world.next_step(), None);
}

#[test]
fn endpoints_that_turn_one_after_another_grow_together() {
    const ENDPOINTS: u64 = 1_000;
    let ms = Duration::from_millis;
    let slow = ms(30_000);
    let mut world = checked(Some(slow));
    let nth = |n: u64| format!("b-v1-{n}");
    for n in 1..=ENDPOINTS {
        let mut endpoint = endpoint("b", "v1", 1, 1);
        endpoint.name = name(&nth(n));
        world.apply(put(endpoint));
        world.apply(said(&nth(n), Health::Unhealthy));
    }
    let weights = |world: &World| {
        let group = world.group(world.find(&name("b")).unwrap()).unwrap();
        let step =
            |member: &std::sync::Arc<Member>| world.step(group.turned(&member.name), Some(slow));
        group.members().iter().map(step).collect::<Vec<_>>()
    };
    // They turn healthy within seven seconds.
    for n in 1..=ENDPOINTS {
        world.set_time(ms(7 * n));
        world.apply(said(&nth(n), Health::Healthy));
    }
    world.take_changed();
    assert!(weights(&world).iter().all(|step| *step < STEPS));
    let mut before = weights(&world);
    let mut looks = 0;
    while let Some(wait) = world.next_step() {
        world.set_time(world.now.unwrap() + wait);
        assert_eq!(changed(&mut world), ["default/b"]);
        let now = weights(&world);
        assert!(now != before && now.iter().zip(&before).all(|(now, before)| now >= before));
        before = now;
        looks += 1;
    }
    // One for each 300 ms that are left, not nine for each endpoint.
    assert!((90..=115).contains(&looks), "{looks}");
    assert!(before.iter().all(|step| *step == STEPS));
    assert!(world.now.unwrap() <= ms(7 * ENDPOINTS) + slow);
    assert!(world.turning.is_empty());
}

#[test]
fn a_slow_start_that_is_shorter_than_the_grid_ends() {
    let ms = Duration::from_millis;
    let mut world = checked(Some(ms(10)));
    world.set_time(ms(1_001));
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.apply(said("b-v1-1", Health::Healthy));
    world.take_changed();
    assert_eq!(world.next_step(), Some(ms(99)));
    world.set_time(ms(1_099));
    assert_eq!(changed(&mut world), Vec::<String>::new());
    world.set_time(ms(1_100));
    assert_eq!(changed(&mut world), ["default/b"]);
    assert_eq!(world.next_step(), None);
}

#[test]
fn a_slow_start_that_is_taken_back_ends_at_once() {
    let at = Duration::from_secs;
    let mut world = checked(Some(at(10)));
    world.set_time(at(1));
    world.apply(said("b-v1-1", Health::Unhealthy));
    world.apply(said("b-v1-1", Health::Healthy));
    let mut config = config_to("b", &[]);
    config.health_check = Some(Box::new(crate::testing::health_check(Health::Healthy)));
    world.apply(put(config));
    assert_eq!(changed(&mut world), ["default/a", "default/b"]);
    assert_eq!(world.next_step(), Some(Duration::ZERO));
    world.set_time(at(1));
    assert_eq!(world.next_step(), None);
    assert!(world.turning.is_empty());
}
