//! What Envoy and gRPC clients would ignore in silence.

use super::{NONE, after, said};
use crate::world::World;

const GRPC: &str = "svc web 10.1.0.1 ports: [{name: p, port: 80, appProtocol: grpc}]";
const HTTP: &str = "svc web 10.1.0.1 ports: [{name: p, port: 80, appProtocol: http}]";
const RULE: &str = "timeouts: {request: 1s}";

#[test]
fn envoy_matters_where_connections_go_there() {
    assert_eq!(said(&format!("{HTTP}\nsc web drainTimeout: 5s")), NONE, "the kernel does it");
    assert_eq!(said(&format!("{HTTP}\nsc web {RULE}")), NONE, "all of it is followed");
    assert_eq!(
        said(&format!("{HTTP}\nsc web {RULE}, drainTimeout: 5s, retry: {{attempts: 2}}")),
        [
            "1 ServiceConfig web: spec.drainTimeout: Envoy, where connections of this service go: no \
          effect: connections last until they end; nor has spec.retry: only the kernel can do it \
          (docs/capabilities.md)"
        ]
    );
}

#[test]
fn grpc_matters_where_it_is_spoken() {
    let who = "gRPC clients without a proxy (xds:///): no effect:";
    assert_eq!(
        said(&format!("{GRPC}\nsc web drainTimeout: 5s")),
        [format!(
            "1 ServiceConfig web: spec.drainTimeout: {who} connections last until they end \
             (docs/capabilities.md)"
        )]
    );
    assert_eq!(said(&format!("{GRPC}\nsc web loadBalancer: {{policy: RoundRobin}}")), NONE);
    assert_eq!(said(&format!("{GRPC}, sessionAffinity: {{clientIP: true}}\nsc web")), NONE);
}

#[test]
fn affinity_is_the_services_to_be_warned_of() {
    let (world, _) = after(&World::default(), &format!("{HTTP}\nsc web {RULE}"));
    let affine = format!("{HTTP}, sessionAffinity: {{clientIP: true}}");
    assert_eq!(
        after(&world, &affine).1,
        [
            "0 Service web: spec.sessionAffinity: Envoy, where connections of this service go: no effect: \
          it chooses for each request (docs/capabilities.md)"
        ]
    );
}
