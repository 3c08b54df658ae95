//! Health checks, breakers, outlier detection and timeouts without the effect that was meant.

use super::{NONE, after, said};
use crate::world::World;

const MIXED: &str = "ports: [{name: tcp, port: 53}, {name: dns, port: 53, protocol: UDP}]";
const ALL_UDP: &str =
    "ports: [{name: dns, port: 53, protocol: UDP}, {name: ntp, port: 123, protocol: UDP}]";

#[test]
fn guards_and_timeouts_are_for_tcp() {
    let all = "sc dns circuitBreaker: {maxFailures: 5}, outlierDetection: {}, \
               timeouts: {idle: 5s}, retry: {attempts: 1}, acceleration: On";
    let expected = |why: &str| {
        ["circuitBreaker", "outlierDetection", "timeouts", "retry", "acceleration"]
            .map(|field| format!("1 ServiceConfig dns: spec.{field}: {field} has no effect{why}"))
    };
    assert_eq!(said(&format!("svc dns 10.1.0.1\n{all}")), NONE);
    assert_eq!(
        said(&format!("svc dns 10.1.0.1 {ALL_UDP}\n{all}")),
        expected(": it is for TCP, and all ports of Service dns are UDP")
    );
    assert_eq!(
        said(&format!("svc dns 10.1.0.1 {MIXED}\n{all}")),
        expected(" on port dns of Service dns: it is for TCP")
    );
    let off = "sc dns acceleration: Off";
    assert_eq!(said(&format!("svc dns 10.1.0.1 {ALL_UDP}\n{off}")), NONE);
    let one = "sc dns retry: {attempts: 1}";
    let more = "ports: [{name: a, port: 1, protocol: UDP}, {name: b, port: 2, protocol: UDP}, \
                {name: c, port: 3}]";
    assert_eq!(
        said(&format!("svc dns 10.1.0.1 {more}\n{one}")),
        ["1 ServiceConfig dns: spec.retry: retry has no effect on port a of Service dns and 1 \
          more: it is for TCP"]
    );
    // The ports change later.
    let (world, _) = after(&World::default(), &format!("svc dns 10.1.0.1\n{one}"));
    assert_eq!(
        after(&world, &format!("svc dns 10.1.0.1 {ALL_UDP}")).1,
        [
            "0 Service dns: spec.ports: retry has no effect: it is for TCP, and all ports of Service \
          dns are UDP"
        ]
    );
    assert_eq!(after(&world, "ep e dns 10.0.0.1").1, NONE);
}

#[test]
fn a_check_needs_a_tcp_port() {
    let unchecked = "endpoints are not checked: Service dns has no TCP port: say with \
                     spec.healthCheck.port which port of the endpoints to check";
    for check in ["tcp: {}", "http: {}", "grpc: {}"] {
        let config = format!("sc dns healthCheck: {{{check}}}");
        assert_eq!(
            said(&format!("svc dns 10.1.0.1 {ALL_UDP}\n{config}")),
            [format!("1 ServiceConfig dns: spec.healthCheck: {unchecked}")]
        );
        assert_eq!(said(&format!("svc dns 10.1.0.1 {MIXED}\n{config}")), NONE);
    }
    let given = "sc dns healthCheck: {tcp: {}, port: 8080}";
    assert_eq!(said(&format!("svc dns 10.1.0.1 {ALL_UDP}\n{given}")), NONE);
    let (world, _) = after(&World::default(), "svc dns 10.1.0.1\nsc dns healthCheck: {tcp: {}}");
    assert_eq!(
        after(&world, &format!("svc dns 10.1.0.1 {ALL_UDP}")).1,
        [format!("0 Service dns: spec.ports: {unchecked}")]
    );
}

#[test]
fn some_fields_need_others() {
    let slow = "1 ServiceConfig web: spec.loadBalancer.slowStart: slowStart has no effect without \
                healthCheck: nothing says when an endpoint turns healthy";
    let panic = "1 ServiceConfig web: spec.loadBalancer.panicThreshold: panicThreshold has no \
                 effect without healthCheck or outlierDetection: no endpoint is ever taken for \
                 unhealthy";
    let both = "svc web 10.1.0.1\nsc web loadBalancer: {slowStart: 10s, panicThreshold: 50}";
    assert_eq!(said(both), [slow, panic]);
    assert_eq!(said(&format!("{both}, outlierDetection: {{}}")), [slow]);
    assert_eq!(said(&format!("{both}, healthCheck: {{tcp: {{}}}}")), NONE);
    assert_eq!(said("svc web 10.1.0.1\nsc web loadBalancer: {panicThreshold: 0}"), NONE);
    // The endpoints of another service are checked as its config says.
    let other = "svc db 10.1.0.2\nsc db healthCheck: {tcp: {}}";
    let rule = "trafficRules: [{destination: {service: db}, weight: 1}]";
    assert_eq!(said(&format!("{both}, {rule}\n{other}")), NONE);
    assert_eq!(said(&format!("{both}\n{other}")), [slow, panic]);
}

#[test]
fn acceleration_needs_endpoints_that_say_where_they_are() {
    let on = "sc web acceleration: On";
    let expected = ["0 ServiceConfig web: spec.acceleration: acceleration has no effect: no \
                     endpoint that Service web sends connections to states its node: set spec.node"];
    let (world, _) = after(&World::default(), "svc web 10.1.0.1\nep a web 10.0.0.1");
    assert_eq!(after(&world, on).1, expected);
    assert_eq!(after(&world, "sc web acceleration: Auto").1, expected);
    assert_eq!(after(&world, "sc web acceleration: Off").1, NONE);
    // The endpoints may be on their way.
    assert_eq!(said(&format!("svc web 10.1.0.1\n{on}")), NONE);
    let (placed, _) = after(&world, "ep b web 10.0.0.2 node: n1");
    assert_eq!(after(&placed, on).1, NONE);
    // Those of another service count where the connections go there.
    let (other, _) = after(&world, "svc db 10.1.0.2\nep d db 10.0.0.4 node: n1");
    let rule = "trafficRules: [{destination: {service: db}, weight: 1}]";
    assert_eq!(after(&other, &format!("{on}, {rule}")).1, NONE);
}

#[test]
fn less_than_one_endpoint_is_ejected_as_one() {
    let three = "svc web 10.1.0.1\nep a web 10.0.0.1\nep b web 10.0.0.2\nep c web 10.0.0.3";
    let (world, warnings) = after(&World::default(), three);
    assert_eq!(warnings, NONE);
    let percent = |percent: u8| {
        let config = format!("sc web outlierDetection: {{maxEjectionPercent: {percent}}}");
        after(&world, &config).1
    };
    let at = "0 ServiceConfig web: spec.outlierDetection.maxEjectionPercent:";
    assert_eq!(
        percent(33),
        [format!(
            "{at} 33 percent of the 3 endpoints of Service web is less than one: one may be \
             ejected all the same"
        )]
    );
    assert_eq!(percent(34), NONE);
    assert_eq!(
        percent(0),
        [format!(
            "{at} outlierDetection has no effect: with 0 percent, no endpoint is ever ejected"
        )]
    );
    // What nobody asked for is no news.
    assert_eq!(after(&world, "sc web outlierDetection: {}").1, NONE);
    // Without endpoints, there is nothing to say yet.
    let none = "svc web 10.1.0.1\nsc web outlierDetection: {maxEjectionPercent: 1}";
    assert_eq!(said(none), NONE);
}

#[test]
fn an_endpoint_at_a_virtual_address_is_checked_by_its_agent() {
    let services = "svc web 10.1.0.1\nsvc db 10.1.0.2\nsc web healthCheck: {tcp: {}}";
    let (world, warnings) = after(&World::default(), services);
    assert_eq!(warnings, NONE);
    let expected = |more: &str| {
        [format!(
            "0 Endpoint e: spec.address: 10.1.0.2 port 80 is a virtual address of Service db: the \
             control plane's checks may end at an endpoint of that service instead of here: set \
             spec.node, so that the node's agent checks it{more}"
        )]
    };
    assert_eq!(after(&world, "ep e web 10.1.0.2").1, expected(""));
    let two = "ep e web 10.1.0.2\nep f web 10.1.0.2\nep g web 10.0.0.1";
    assert_eq!(after(&world, two).1, expected(", as for 1 more of this request"));
    // Another port, a node with an agent, no check: nothing is in the way.
    assert_eq!(after(&world, "ep e web 10.1.0.2 ports: {default: 81}").1, NONE);
    assert_eq!(after(&world, "ep e web 10.1.0.2 node: n1").1, NONE);
    assert_eq!(after(&world, "ep e db 10.1.0.2").1, NONE);
    // The port of the check counts.
    let (other, _) = after(&world, "sc web healthCheck: {tcp: {}, port: 9000}");
    assert_eq!(after(&other, "ep e web 10.1.0.2").1, NONE);
}
