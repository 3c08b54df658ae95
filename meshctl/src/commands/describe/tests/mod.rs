//! Whole texts, as people see them.

mod traffic;

use mesh_api::manifest::{Located, parse};

use super::*;

const WORLD: &str = "
{apiVersion: mesh.dev/v1alpha1, kind: Service, metadata: {name: reviews, resourceVersion: 7},
 spec: {vips: [10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: ServiceConfig, metadata: {name: reviews},
 spec: {trafficRules: [{destination: {version: v1}, weight: 9},
  {destination: {version: v2}, weight: 1}]}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: one},
 spec: {service: reviews, version: v1, address: 10.0.0.1}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: two},
 spec: {service: reviews, version: v2, address: 10.0.0.2, state: Draining}}
---
{apiVersion: mesh.dev/v1alpha1, kind: Endpoint, metadata: {name: three},
 spec: {service: ratings, version: v2, address: 10.0.0.3}}
";

fn world(text: &str) -> Vec<wire::Object> {
    parse("w", text).expect("valid").into_iter().map(Located::into_object).collect()
}

fn described(world: &[wire::Object], config: Option<&wire::Object>) -> String {
    with_health(world, config, Health::new("default", wire::ListHealthResponse::default()))
}

fn with_health(world: &[wire::Object], config: Option<&wire::Object>, health: Health) -> String {
    let Some(Spec::Service(spec)) = &world[0].spec else {
        panic!("a service");
    };
    let around = Around { object: config.cloned(), endpoints: world.to_vec(), health };
    service::service(&world[0], spec, &around, Style::PLAIN)
}

#[test]
fn a_service_shows_shares_and_its_own_endpoints() {
    let world = world(WORLD);
    assert_eq!(
        described(&world, Some(&world[1])),
        "\
Kind:                service
Name:                reviews
Revision:            7
Labels:              -
Addresses:           10.96.0.10
No backend:          Refuse (EHOSTUNREACH)
Affinity:            -
Load balancer:       Random
Locality:            -
Drain timeout:       -
Health check:        -
Circuit breaker:     -
Outlier detection:   -
Timeouts:            -

Ports:
  NAME   PORT           APP-PROTOCOL
  http   80->8080/TCP   -

Traffic rules:
  DESTINATION   WEIGHT   SHARE   SERVING
  v1            9        100%    1
  v2            1        0%      0

Endpoints (NEW: takes new connections of this service):
  NAME   ADDRESS    VERSION   STATE      WEIGHT   HEALTH   NODE   REGION   ZONE   NEW
  one    10.0.0.1   v1        Serving    1        -        -      -        -      yes
  two    10.0.0.2   v2        Draining   1        -        -      -        -      no: draining
"
    );
}

#[test]
fn both_families_have_shares_of_their_own() {
    let dual = WORLD
        .replace(
            "[10.96.0.10], ports: [{name: http, port: 80, targetPort: 8080}]",
            "[10.96.0.10, 'fd00::10'], onNoBackend: PassThrough, \
             sessionAffinity: {clientIP: true}, \
             ports: [{name: dns, port: 53}, {name: dns-udp, port: 53, protocol: UDP}]",
        )
        .replace(
            "spec: {trafficRules",
            "spec: {loadBalancer: {policy: Maglev, hashKey: Workload, \
             locality: {mode: PreferLocal, scope: Zone}}, drainTimeout: 30s, acceleration: On, trafficRules",
        )
        .replace(
            "address: 10.0.0.2, state: Draining",
            "address: 'fd00::2', node: n1, locality: {region: r, zone: z}",
        )
        .replace("service: ratings, version: v2", "service: reviews, version: v3");
    let world = world(&dual);
    let text = described(&world, Some(&world[1]));
    let (_, text) = text.split_once("Addresses:").expect("addresses");
    assert_eq!(
        text,
        "           10.96.0.10, fd00::10
No backend:          PassThrough
Affinity:            NetworkNamespace
Load balancer:       Maglev by Workload
Locality:            PreferLocal (Zone)
Drain timeout:       30s
Health check:        -
Circuit breaker:     -
Outlier detection:   -
Timeouts:            -
Acceleration:        On

Ports:
  NAME      PORT     APP-PROTOCOL
  dns       53/TCP   -
  dns-udp   53/UDP   -

Traffic rules:
  DESTINATION   WEIGHT   SHARE-IPv4   SERVING-IPv4   SHARE-IPv6   SERVING-IPv6
  v1            9        100%         1              0%           0
  v2            1        0%           0              100%         1

Endpoints (NEW: takes new connections of this service):
  NAME    ADDRESS    VERSION   STATE     WEIGHT   HEALTH   NODE   REGION   ZONE   NEW
  one     10.0.0.1   v1        Serving   1        -        -      -        -      yes
  two     fd00::2    v2        Serving   1        -        n1     r        z      yes
  three   10.0.0.3   v3        Serving   1        -        -      -        -      no: no traffic rule
  Locality: of each rule, a node uses the nearest endpoints only
"
    );
}

#[test]
fn an_endpoint_says_why_it_gets_nothing() {
    let text = WORLD
        .replace("address: 10.0.0.1", "address: 'fd00::1'")
        .replace("state: Draining", "weight: 0");
    let text = described(&world(&text), None);
    assert!(text.contains("no: the service has no IPv6 address\n"), "{text}");
    assert!(text.contains("no: weight 0\n"), "{text}");
    assert!(text.contains("Traffic rules: none, all endpoints share by their weights"), "{text}");
}

#[test]
fn a_config_shows_what_its_service_gets() {
    let world = world(WORLD);
    let around =
        Around { object: Some(world[0].clone()), endpoints: world.clone(), ..Around::default() };
    let text = service::config(&world[1], &around, Style::PLAIN);
    assert_eq!(
        text,
        "\
Kind:                serviceconfig
Name:                reviews
Revision:            0
Labels:              -
Load balancer:       Random
Locality:            -
Drain timeout:       -
Health check:        -
Circuit breaker:     -
Outlier detection:   -
Timeouts:            -

Traffic rules:
  DESTINATION   WEIGHT   SHARE   SERVING
  v1            9        100%    1
  v2            1        0%      0
"
    );
}
