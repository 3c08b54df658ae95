//! Why endpoints get no traffic, where health, breakers and ejections have a say in it.

use super::*;

fn seen(name: &str, status: wire::HealthStatus) -> wire::EndpointHealthView {
    wire::EndpointHealthView {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        status: status.into(),
        since_ms: 12_000,
        source: "agent a".to_owned(),
        reason: "connect: Connection refused".to_owned(),
        ..wire::EndpointHealthView::default()
    }
}

fn unhealthy(name: &str) -> wire::EndpointHealthView {
    seen(name, wire::HealthStatus::Unhealthy)
}

fn healthy(name: &str) -> wire::EndpointHealthView {
    let reason = String::new();
    wire::EndpointHealthView { reason, ..seen(name, wire::HealthStatus::Healthy) }
}

fn guard(endpoint: &str, state: wire::GuardState, remaining_ms: u64) -> wire::GuardReport {
    wire::GuardReport {
        namespace: "default".to_owned(),
        service: "reviews".to_owned(),
        port: 80,
        endpoint: endpoint.to_owned(),
        state: state.into(),
        cause: "5 failed connects in a row".to_owned(),
        since_ms: 3000,
        remaining_ms,
    }
}

fn health(
    endpoints: Vec<wire::EndpointHealthView>,
    guards: &[(&str, wire::GuardReport)],
) -> Health {
    let guards = guards.iter().map(|(node, guard)| wire::NodeGuards {
        node: (*node).to_owned(),
        guards: vec![guard.clone()],
        omitted: 0,
    });
    Health::new("default", wire::ListHealthResponse { endpoints, guards: guards.collect() })
}

/// The rules and all below them.
fn shown(manifests: &str, health: Health) -> String {
    let world = world(manifests);
    let text = with_health(&world, Some(&world[1]), health);
    text.split_once("\nTraffic rules").expect("rules").1.to_owned()
}

const SERVING: &str = "address: 10.0.0.2, state: Draining";

#[test]
fn an_unhealthy_endpoint_leaves_its_share_to_the_others_and_says_why() {
    let text = shown(&WORLD.replace(SERVING, "address: 10.0.0.2"), {
        health(vec![healthy("one"), unhealthy("two")], &[])
    });
    assert_eq!(
        text,
        ":
  DESTINATION   WEIGHT   SHARE   SERVING
  v1            9        100%    1
  v2            1        0%      0

Endpoints (NEW: takes new connections of this service):
  NAME   ADDRESS    VERSION   STATE     WEIGHT   HEALTH      NODE   REGION   ZONE   NEW
  one    10.0.0.1   v1        Serving   1        Healthy     -      -        -      yes
  two    10.0.0.2   v2        Serving   1        Unhealthy   -      -        -      no: unhealthy for 12s (agent a): connect: Connection refused
"
    );
}

#[test]
fn a_held_endpoint_says_for_how_long() {
    let held = wire::EndpointHealthView { held_ms: 9000, ..unhealthy("one") };
    let text = shown(WORLD, health(vec![held], &[]));
    assert!(
        text.contains("no: unhealthy for 12s (agent a), held for another 9s or more: connect: "),
        "{text}"
    );
}

#[test]
fn breakers_and_ejections_are_named_with_their_nodes() {
    let guards = [
        ("b", guard("one", wire::GuardState::Ejected, 27_000)),
        ("c", guard("one", wire::GuardState::Open, 0)),
        ("d", guard("one", wire::GuardState::HalfOpen, 0)),
        ("e", guard("one", wire::GuardState::Open, 1000)),
        ("e", guard("", wire::GuardState::Open, 1000)),
        (
            "f",
            wire::GuardReport {
                service: "other".to_owned(),
                ..guard("one", wire::GuardState::Open, 1)
            },
        ),
    ];
    let text = shown(WORLD, health(vec![], &guards));
    let (endpoints, guards) = text.split_once("\nBreakers").expect("guards");
    assert!(
        endpoints.contains(
            "yes, but not everywhere: ejected on node b (port 80) for another 27s, \
             breaker open on node c (port 80) until the next connect, \
             only trials on node d (port 80), 1 more\n"
        ),
        "{endpoints}"
    );
    assert_eq!(
        guards,
        " that are not closed, and ejections, of each node's clients:
  NODE   NAMESPACE   SERVICE   PORT   ENDPOINT   STATE      SINCE   REMAINING   CAUSE
  b      default     reviews   80     one        Ejected    3s      27s         5 failed connects in a row
  c      default     reviews   80     one        Open       3s      0ms         5 failed connects in a row
  d      default     reviews   80     one        HalfOpen   3s      0ms         5 failed connects in a row
  e      default     reviews   80     -          Open       3s      1s          5 failed connects in a row
  e      default     reviews   80     one        Open       3s      1s          5 failed connects in a row
"
    );
}

#[test]
fn what_another_namespace_has_is_not_shown() {
    let other = wire::EndpointHealthView { namespace: "shop".to_owned(), ..unhealthy("one") };
    let ejected = guard("one", wire::GuardState::Ejected, 1);
    let ejected = wire::GuardReport { namespace: "shop".to_owned(), ..ejected };
    let text = shown(WORLD, health(vec![other], &[("b", ejected)]));
    assert!(text.contains("-      yes\n"), "{text}");
    assert!(!text.contains("Breakers"), "{text}");
}

/// The configured service with endpoints one, two and three, of the same version.
fn configured(config: &str) -> String {
    let world = WORLD
        .replace(SERVING, "address: 10.0.0.2, node: n2")
        .replace("service: ratings", "service: reviews");
    let (before, after) = world.split_once("spec: {trafficRules").expect("rules");
    let (_, after) = after.split_once("---").expect("more");
    format!("{before}spec: {{{config}}}}}\n---{after}")
}

const CHECKED: &str = "healthCheck: {tcp: {}, initialState: Unhealthy}";

#[test]
fn what_is_not_checked_yet_is_what_the_config_says() {
    let waits = wire::EndpointHealthView {
        reason: "not checked yet by the agent of node n2".to_owned(),
        ..seen("two", wire::HealthStatus::Unspecified)
    };
    let text = shown(&configured(CHECKED), health(vec![healthy("one"), waits], &[]));
    assert!(text.contains("Healthy   -      -        -      yes\n"), "{text}");
    assert!(
        text.contains(
            "Unknown   n2     -        -      no: unhealthy until it is checked (initialState): \
             not checked yet by the agent of node n2\n"
        ),
        "{text}"
    );
    assert!(text.contains("no: unhealthy until it is checked (initialState)\n"), "{text}");
    let text = shown(&configured(CHECKED), Health::default());
    assert!(text.ends_with("  Health: unknown, the control plane is too old to gather it\n"));
}

#[test]
fn below_the_panic_threshold_the_unhealthy_take_connections() {
    let config = "healthCheck: {tcp: {}}, loadBalancer: {panicThreshold: 50}";
    let bad = || vec![healthy("one"), unhealthy("two"), unhealthy("three")];
    let text = shown(&configured(config), health(bad(), &[]));
    assert!(
        text.contains("yes, in spite of being unhealthy for 12s (agent a): connect: "),
        "{text}"
    );
    assert!(
        text.ends_with(
            "  Panic: 1 of 3 IPv4 endpoints healthy, less than 50%: health is ignored\n"
        ),
        "{text}"
    );
    // Not below it any more.
    let text = shown(&configured(&config.replace("50", "33")), health(bad(), &[]));
    assert!(text.contains("no: unhealthy for 12s"), "{text}");
    assert!(!text.contains("Panic"), "{text}");
}

#[test]
fn each_rule_panics_on_its_own() {
    let config = "healthCheck: {tcp: {}}, loadBalancer: {panicThreshold: 51}, \
                  trafficRules: [{destination: {version: v1}, weight: 1}, \
                  {destination: {version: v2}, weight: 1}]";
    let text = shown(&configured(config), health(vec![unhealthy("one"), unhealthy("two")], &[]));
    assert!(text.contains("  v1            1        50%     1\n"), "{text}");
    assert!(text.contains("  v2            1        50%     2\n"), "{text}");
    assert!(
        text.ends_with(
            "  Panic: 0 of 1 IPv4 endpoints of v1 healthy, less than 51%: health is ignored\n  \
             Panic: 1 of 2 IPv4 endpoints of v2 healthy, less than 51%: health is ignored\n"
        ),
        "{text}"
    );
    let config = config.replace("51", "50");
    let text = shown(&configured(&config), health(vec![unhealthy("one"), unhealthy("two")], &[]));
    assert!(text.contains("  v2            1        50%     1\n"), "{text}");
    assert!(text.contains("n2     -        -      no: unhealthy"), "{text}");
}

#[test]
fn one_that_turned_healthy_lately_starts_slowly() {
    let config = "healthCheck: {tcp: {}}, loadBalancer: {slowStart: 60s}";
    let slow = |since_ms, changes| {
        let one = wire::EndpointHealthView { changes, since_ms, ..healthy("one") };
        let text = shown(&configured(config), health(vec![one], &[]));
        let (_, text) = text.split_once("  one ").expect("one");
        let line = text.lines().next().expect("a line");
        line.rsplit_once("-      ").expect("columns").1.to_owned()
    };
    assert_eq!(slow(0, 1), "yes, with 1/10 of its share (slow start)");
    assert_eq!(slow(12_000, 2), "yes, with 3/10 of its share (slow start)");
    assert_eq!(slow(59_999, 1), "yes, with 10/10 of its share (slow start)");
    assert_eq!(slow(60_000, 1), "yes");
    assert_eq!(slow(0, 0), "yes");
}

#[test]
fn strict_locality_says_where_clients_must_be() {
    let text = |scope: &str| {
        let config = format!("loadBalancer: {{locality: {{mode: Strict, scope: {scope}}}}}");
        shown(&configured(&config), health(vec![], &[]))
    };
    let node = text("Node");
    assert!(node.contains("no: it has no node, and locality is Strict\n"), "{node}");
    assert!(node.contains("yes, only on node n2\n"), "{node}");
    let zone = text("Zone");
    assert!(zone.contains("no: it has no zone, and locality is Strict\n"), "{zone}");
    let near = configured("loadBalancer: {locality: {mode: PreferLocal}}");
    let near = shown(&near, health(vec![], &[]));
    assert!(near.ends_with("  Locality: of each rule, a node uses the nearest endpoints only\n"));
}

#[test]
fn an_endpoint_shows_what_its_checks_say() {
    let world = world(WORLD);
    let Some(Spec::Endpoint(spec)) = &world[2].spec else {
        panic!("an endpoint");
    };
    let one = wire::EndpointHealthView { latency_us: 1234, ..unhealthy("one") };
    let text = endpoint(&world[2], spec, &health(vec![one], &[]), Style::PLAIN);
    let health = "Health:          unhealthy for 12s (agent a): connect: Connection refused\n";
    assert!(text.contains(health), "{text}");
    assert!(text.ends_with("Check latency:   1.2ms\n"), "{text}");
}
