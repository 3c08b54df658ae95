//! An incremental translation is the one from nothing, and touches little.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use mesh_api::model::{
    Health, LocalityMode, LocalityPolicy, LocalityScope, NodeLocality, Object, ObjectName,
    ObjectRef, Port,
};
use mesh_api::resource::{HEALTH, encode};
use mesh_api::wire;
use mesh_xds::snapshot::{Resource, Snapshot};
use mesh_xds::translate::grpc::Library;
use mesh_xds::translate::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES, TYPES};
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Audience, Builder, Change, Dialect, LINGER, ProxyBook};
use crate::testing::{endpoint, model, name, wire_check, wire_config, wire_service};
use crate::world::{Stored, World};

/// A service that speaks HTTP.
fn service(object: &str, port: u32) -> Object {
    let mut wire = wire_service(object, "10.96.0.1", port);
    if let Some(wire::object::Spec::Service(spec)) = &mut wire.spec {
        "http".clone_into(&mut spec.ports[0].app_protocol);
    }
    model(wire)
}

/// A configuration, with a timeout for requests or without, and the port allotted.
fn config(object: &str, rules: &[(&str, &str, u32)], is_for_requests: bool) -> Object {
    let mut wire = wire_config(object, rules);
    if let Some(wire::object::Spec::ServiceConfig(spec)) = &mut wire.spec
        && is_for_requests
    {
        spec.timeouts = Some(wire::Timeouts { request_ms: Some(1_000), ..Default::default() });
    }
    let mut object = model(wire);
    if let Object::ServiceConfig(config) = &mut object
        && is_for_requests
    {
        let port = Port::try_from(20_000).unwrap();
        config.proxy_ports.insert("http".parse().unwrap(), port);
    }
    object
}

/// A builder, and the world that it follows.
struct Bench {
    world: World,
    builder: Builder,
    health: Vec<(ObjectName, Option<Health>)>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let (world, builder) = (World::default(), Builder::default());
        Self { world, builder, health: Vec::new(), now: Instant::now() }
    }

    fn put(&mut self, objects: impl IntoIterator<Item = Object>) {
        let puts = objects.into_iter().map(|object| (object, true));
        self.change(puts.collect(), Vec::new());
    }

    fn change(&mut self, objects: Vec<(Object, bool)>, health: Vec<(ObjectName, Option<Health>)>) {
        let mut changed = BTreeSet::new();
        for (object, stays) in objects {
            changed.insert(object.reference());
            if stays {
                self.world.put(Stored { object, resource_version: 1 });
            } else {
                self.world.remove(&object.reference());
            }
        }
        self.world.set_revision(self.world.revision() + 1);
        self.health.extend(health.clone());
        let change = Change { world: Arc::new(self.world.clone()), objects: changed, health };
        self.builder.update(change, self.now);
    }

    fn envoy(&self) -> Arc<Snapshot> {
        Arc::clone(&self.builder.snapshots().envoy)
    }

    fn grpc(&self) -> Arc<Snapshot> {
        Arc::clone(&self.builder.snapshots().grpc)
    }

    /// What the same world and health give from nothing.
    fn fresh(&self) -> Builder {
        let mut builder = Builder::default();
        let world = Arc::new(self.world.clone());
        builder.build(&world, self.now);
        let change =
            Change { world, objects: BTreeSet::<ObjectRef>::new(), health: self.health.clone() };
        builder.update(change, self.now);
        builder
    }
}

/// Names of the resources that differ.
fn differ(one: &Snapshot, other: &Snapshot) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for type_url in TYPES {
        let of = |it: &'_ Snapshot| it.resources(type_url).cloned().unwrap_or_default();
        let (one, other) = (of(one), of(other));
        let names: BTreeSet<&str> = one.iter().chain(other.iter()).map(|(name, _)| name).collect();
        let differ = names.into_iter().filter(|name| one.get(name) != other.get(name));
        found.extend(differ.map(|name| (type_url, name.to_owned())));
    }
    found
}

fn in_zone(mut object: Object, zone: &str) -> Object {
    if let Object::Endpoint(endpoint) = &mut object {
        endpoint.locality.zone = Some(zone.parse().unwrap());
    }
    object
}

/// A configuration by which the endpoints of the client's zone come first, or are all.
fn local(mut object: Object, mode: Option<LocalityMode>) -> Object {
    if let Object::ServiceConfig(config) = &mut object {
        let policy = |mode| LocalityPolicy { mode, scope: LocalityScope::Zone };
        config.load_balancer.locality = mode.map(policy);
    }
    object
}

fn audience(dialect: Dialect, zone: &str) -> Audience {
    Audience { dialect, here: NodeLocality { zone: zone.parse().ok(), ..NodeLocality::default() } }
}

fn audiences() -> BTreeSet<Audience> {
    let all = [Dialect::Envoy, Dialect::Grpc(Library::Other), Dialect::Grpc(Library::Core)];
    all.into_iter().flat_map(|it| ["", "z-0", "z-1"].map(|zone| audience(it, zone))).collect()
}

fn object() -> impl Strategy<Value = Object> {
    let rules = prop_oneof![
        Just(vec![]),
        Just(vec![("", "v1", 1)]),
        Just(vec![("", "v1", 1), ("s-1", "", 3)]),
        Just(vec![("s-2", "v2", 1), ("s-1", "v1", 3)]),
    ];
    let mode = prop_oneof![Just(LocalityMode::PreferLocal), Just(LocalityMode::Strict)];
    prop_oneof![
        (0..3_u8, 80..82_u32).prop_map(|(at, port)| service(&format!("shop/s-{at}"), port)),
        (0..5_u8, 0..3_u8, 1..3_u8, 0..3_u8).prop_map(|(at, of, version, zone)| {
            let (of, version) = (format!("s-{of}"), format!("v{version}"));
            in_zone(endpoint(&format!("shop/e-{at}"), &of, &version), &format!("z-{zone}"))
        }),
        (0..3_u8, rules, any::<bool>(), prop::option::of(mode)).prop_map(
            |(at, rules, is_for_requests, mode)| {
                local(config(&format!("shop/s-{at}"), &rules, is_for_requests), mode)
            }
        ),
    ]
}

fn health() -> impl Strategy<Value = (ObjectName, Option<Health>)> {
    let known =
        prop_oneof![Just(None), Just(Some(Health::Healthy)), Just(Some(Health::Unhealthy)),];
    (0..5_u8, known).prop_map(|(at, health)| (name(&format!("shop/e-{at}")), health))
}

proptest! {
    #[test]
    fn updating_is_building(
        steps in prop::collection::vec(
            (
                prop::collection::vec((object(), prop::bool::weighted(0.8)), 0..3),
                prop::collection::vec(health(), 0..2),
            ),
            0..25,
        )
    ) {
        let mut bench = Bench::new();
        bench.builder.serve(audiences());
        for (objects, health) in steps {
            bench.change(objects, health);
            // All that leaves has left.
            let later = bench.now + LINGER;
            bench.builder.expire(later);
            bench.now = later;
            let mut fresh = bench.fresh();
            fresh.serve(audiences());
            for audience in audiences() {
                let of = |builder: &Builder| Arc::clone(builder.snapshot(&audience).unwrap());
                prop_assert_eq!(differ(&of(&bench.builder), &of(&fresh)), vec![]);
            }
            prop_assert_eq!(differ(&bench.envoy(), &fresh.snapshots().envoy), vec![]);
            prop_assert_eq!(differ(&bench.grpc(), &fresh.snapshots().grpc), vec![]);
            let core = &bench.builder.snapshots().grpc_core;
            prop_assert_eq!(differ(core, &fresh.snapshots().grpc_core), vec![]);
            let differ = differ(core, &bench.grpc());
            prop_assert!(differ.iter().all(|(type_url, _)| *type_url == ROUTES), "{differ:?}");
        }
    }
}

fn shop() -> Bench {
    let mut bench = Bench::new();
    bench.put([
        service("shop/web", 80),
        service("shop/other", 80),
        config("shop/web", &[("", "v1", 80), ("", "v2", 20)], true),
        endpoint("shop/web-1", "web", "v1"),
        endpoint("shop/web-2", "web", "v2"),
        endpoint("shop/web-3", "web", "v2"),
        endpoint("shop/other-1", "other", "v1"),
    ]);
    bench
}

#[test]
fn one_endpoint_changes_the_sets_that_have_it() {
    let mut bench = shop();
    let (envoy, grpc) = (bench.envoy(), bench.grpc());
    let unhealthy = |it: &str| (name(it), Some(Health::Unhealthy));
    bench.change(Vec::new(), vec![unhealthy("shop/web-2")]);
    let set = "shop/web/http|shop/web|v2".to_owned();
    assert_eq!(differ(&envoy, &bench.envoy()), [(ASSIGNMENT, set.clone())]);
    let of_grpc = "web.shop:http|web.shop|v2".to_owned();
    assert_eq!(differ(&grpc, &bench.grpc()), [(ASSIGNMENT, of_grpc)]);

    // The last one is gone: the share goes to the other version.
    let envoy = bench.envoy();
    bench.change(Vec::new(), vec![unhealthy("shop/web-3")]);
    let routes = (ROUTES, "shop/web/http".to_owned());
    assert_eq!(differ(&envoy, &bench.envoy()), [(ASSIGNMENT, set), routes]);

    // What Envoy has nothing to do with is the same snapshot.
    let envoy = bench.envoy();
    bench.put([endpoint("shop/other-2", "other", "v1")]);
    assert!(Arc::ptr_eq(&envoy, &bench.envoy()));
}

#[test]
fn rules_change_routes_only() {
    let mut bench = shop();
    let envoy = bench.envoy();
    bench.put([config("shop/web", &[("", "v1", 20), ("", "v2", 80)], true)]);
    assert_eq!(differ(&envoy, &bench.envoy()), [(ROUTES, "shop/web/http".to_owned())]);
}

#[test]
fn a_listener_lingers() {
    let mut bench = shop();
    let before = bench.envoy();
    bench.put([config("shop/web", &[("", "v1", 80), ("", "v2", 20)], false)]);
    assert_eq!(differ(&before, &bench.envoy()), []);
    assert_eq!(bench.builder.due(), Some(bench.now + LINGER));
    bench.builder.expire(bench.now + LINGER / 2);
    assert!(Arc::ptr_eq(&before, &bench.envoy()));

    // It is needed again, with one cluster less.
    bench.put([config("shop/web", &[("", "v1", 80)], true)]);
    assert_eq!(bench.builder.due(), None);
    let names = |it: &Snapshot| it.resources(CLUSTER).unwrap().len();
    assert_eq!((names(&before), names(&bench.envoy())), (2, 1));

    bench.change(vec![(service("shop/web", 80), false)], Vec::new());
    assert!(bench.envoy().get(LISTENER, "shop/web/http").is_some());
    assert!(bench.grpc().get(LISTENER, "web.shop").is_none());
    bench.builder.expire(bench.now + LINGER);
    assert!(bench.envoy().is_empty());
    assert_eq!(bench.builder.due(), None);
}

/// Two listeners at one port would share its connections.
#[test]
fn a_port_that_is_allotted_again_does_not_linger() {
    let mut bench = shop();
    bench.put([config("shop/web", &[], false)]);
    bench.put([config("shop/other", &[], true)]);
    assert!(bench.envoy().get(LISTENER, "shop/web/http").is_none());
    assert!(bench.envoy().get(LISTENER, "shop/other/http").is_some());
    assert_eq!(bench.builder.due(), None);
}

#[tokio::test]
async fn nothing_is_said_before_health_is_known() {
    let bench = shop();
    let mut world = bench.world;
    let checked = model(wire_check("shop/other", true));
    world.put(Stored { object: checked, resource_version: 1 });
    let book = ProxyBook::new(Arc::new(world), Vec::new());
    let (health, known) = watch::channel(None);
    let (mut envoy, shutdown) = (
        book.follow(Audience { dialect: Dialect::Envoy, here: NodeLocality::default() }),
        CancellationToken::new(),
    );
    let resource = |status: wire::HealthStatus| {
        let (body, version) = encode(&wire::EndpointHealth { status: status.into() });
        Resource::new(version, body)
    };
    let follow = async {
        assert!(envoy.borrow().is_none());
        let unhealthy = resource(wire::HealthStatus::Unhealthy);
        let snapshot = Snapshot::builder(1).insert(HEALTH, "shop/web-1", unhealthy).build();
        health.send_replace(Some(Arc::new(snapshot)));
        envoy.changed().await.unwrap();
        let first = envoy.borrow_and_update().clone().unwrap();
        shutdown.cancel();
        first
    };
    let (first, ()) = tokio::join!(follow, book.run(known, shutdown.clone()));
    let mut bench = shop();
    bench.change(Vec::new(), vec![(name("shop/web-1"), Some(Health::Unhealthy))]);
    assert_eq!(differ(&first, &bench.envoy()), []);
}

/// Who is near is told of near endpoints, and of routes to them; all else is shared.
#[test]
fn places_are_told_different_things() {
    let mut bench = shop();
    let strict = config("shop/web", &[("", "v1", 80), ("", "v2", 20)], true);
    bench.put([
        local(strict, Some(LocalityMode::Strict)),
        in_zone(endpoint("shop/web-1", "web", "v1"), "z-0"),
        in_zone(endpoint("shop/web-2", "web", "v2"), "z-0"),
        in_zone(endpoint("shop/web-3", "web", "v2"), "z-1"),
    ]);
    bench.builder.serve(audiences());
    let of = |bench: &Bench, zone| {
        Arc::clone(bench.builder.snapshot(&audience(Dialect::Envoy, zone)).unwrap())
    };
    let set = |version: &str| (ASSIGNMENT, format!("shop/web/http|shop/web|{version}"));
    let routes = (ROUTES, "shop/web/http".to_owned());
    assert_eq!(differ(&bench.envoy(), &of(&bench, "z-0")), [set("v2")]);
    // Nothing of v1 is there, so v2 has its share.
    let all = [set("v1"), set("v2"), routes.clone()];
    assert_eq!(differ(&bench.envoy(), &of(&bench, "z-1")), all);
    let before = of(&bench, "z-1");
    bench.put([in_zone(endpoint("shop/web-4", "web", "v1"), "z-1")]);
    assert_eq!(differ(&before, &of(&bench, "z-1")), [set("v1"), routes]);
    // Where no service asks for near endpoints, there is one snapshot.
    bench.put([config("shop/web", &[("", "v1", 80), ("", "v2", 20)], true)]);
    assert!(Arc::ptr_eq(&bench.envoy(), &of(&bench, "z-1")));
    // Who has left is forgotten.
    bench.builder.serve(BTreeSet::new());
    assert!(bench.builder.snapshot(&audience(Dialect::Envoy, "z-1")).is_none());
}
