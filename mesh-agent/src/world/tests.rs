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
