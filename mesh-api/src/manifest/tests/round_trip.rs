//! What is written is read back the same.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::accepted;
use crate::manifest::to_yaml;
use crate::model::Object;
use crate::wire;

/// Labels and versions that YAML takes for something else unless quoted, and any others.
fn label() -> impl Strategy<Value = String> {
    const TRAPS: &[&str] = &[
        "1",
        "1.0",
        "0x1f",
        "0o17",
        "1e3",
        "true",
        "no",
        "on",
        "y",
        "null",
        "~",
        "-",
        "---",
        "...",
        "=",
        "<<",
        ".inf",
        ".nan",
        "#x",
        "a:b",
        "-x",
        "?x",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "%x",
        "@x",
        "`x",
        "[x]",
        "{x}",
        "'x'",
        "\"x\"",
        "x,y",
        "12:30:45",
        "2001-01-01",
        "0777",
        "1_000",
    ];
    prop_oneof![prop::sample::select(TRAPS).prop_map(str::to_owned), "[!-~]{1,40}"]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9]", "[a-z0-9][a-z0-9-]{0,20}[a-z0-9]"]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| format!("10.{a}.{b}.{c}")),
        // Written as people may write it, not in the canonical form.
        any::<[u16; 3]>().prop_map(|[a, b, c]| format!("fd00:0:0:{a:04x}:0:{b:X}::{c:x}")),
    ]
}

fn metadata() -> impl Strategy<Value = wire::Metadata> {
    let labels =
        prop::collection::btree_map(label(), prop_oneof![label(), "".prop_map(String::from)], 0..4);
    (name(), name(), labels, any::<u64>()).prop_map(
        |(namespace, name, labels, resource_version)| wire::Metadata {
            namespace,
            name,
            labels,
            resource_version,
        },
    )
}

fn service() -> impl Strategy<Value = wire::Service> {
    let port = (1_u32..65536, prop::option::of(1_u32..65536), 0..3_i32, prop_oneof!["", label()])
        .prop_map(|(port, target_port, protocol, app_protocol)| wire::ServicePort {
            name: String::new(),
            port,
            target_port,
            protocol,
            app_protocol,
        });
    let ports = prop::collection::btree_map(name(), port, 1..4).prop_map(|ports| {
        let named = ports.into_iter().enumerate();
        named
            .map(|(index, (name, port))| wire::ServicePort {
                name,
                port: port.port % 10_000 + 1 + 10_000 * u32::try_from(index).expect("few"),
                ..port
            })
            .collect()
    });
    let vips = prop::collection::btree_set(address(), 1..4).prop_map(Vec::from_iter);
    let affinity =
        (0..3_i32, prop::option::of(1000..604_800_001_u64)).prop_map(|(key, timeout_ms)| {
            wire::SessionAffinity { client_ip: key == 0, timeout_ms, key }
        });
    // 2 is PassThrough, which has no error.
    let no_backend = prop_oneof![(0..2_i32, 0..9_i32), (2..3_i32, 0..1_i32)];
    (vips, ports, no_backend, prop::option::of(affinity)).prop_map(
        |(vips, ports, (on_no_backend, refuse_errno), session_affinity)| wire::Service {
            vips,
            ports,
            on_no_backend,
            session_affinity,
            refuse_errno,
        },
    )
}

fn endpoint() -> impl Strategy<Value = wire::Endpoint> {
    let text = || prop_oneof!["", label()];
    let ports = prop::collection::btree_map(name(), 1_u32..65536, 0..3);
    let locality = prop::option::of(
        (text(), text()).prop_map(|(region, zone)| wire::Locality { region, zone }),
    );
    let weight = prop::option::of(0_u32..1_000_000);
    let ttl = prop_oneof![prop::strategy::Just(0_u64), 1000..86_400_000_u64];
    ((name(), text(), address(), ports, text(), text()), locality, weight, 0..3_i32, ttl).prop_map(
        |((service, version, address, ports, node, workload), locality, weight, state, ttl_ms)| {
            wire::Endpoint {
                service,
                version,
                address,
                ports: ports.into_iter().collect::<BTreeMap<_, _>>(),
                node,
                workload,
                locality,
                weight,
                state,
                ttl_ms,
            }
        },
    )
}

fn config() -> impl Strategy<Value = wire::ServiceConfig> {
    let rules = prop::collection::btree_map(label(), 1_u32..1_000_000, 0..5).prop_map(|rules| {
        let rule = |(version, weight)| wire::TrafficRule {
            destination: Some(wire::Destination { service: String::new(), version }),
            weight,
            ..wire::TrafficRule::default()
        };
        rules.into_iter().map(rule).collect()
    });
    let locality =
        (1..3_i32, 0..4_i32).prop_map(|(mode, scope)| wire::LocalityPolicy { mode, scope });
    // 4 is Maglev, the only one with a key.
    let policy = prop_oneof![(0..4_i32, 0..1_i32), (4..5_i32, 0..4_i32)];
    let slow_start = prop::option::of(1000..3_600_001_u64);
    let balancer = (policy, prop::option::of(locality), slow_start, 0..101_u32).prop_map(
        |((policy, hash_key), locality, slow_start_ms, panic_threshold)| wire::LoadBalancer {
            policy,
            hash_key,
            locality,
            slow_start_ms,
            panic_threshold,
        },
    );
    let drain = prop::option::of(0..86_400_001_u64);
    let rest = (drain, 0..4_i32);
    (rules, prop::option::of(balancer), rest, super::resilience::specs()).prop_map(
        |(traffic_rules, load_balancer, (drain_timeout_ms, acceleration), specs)| {
            wire::ServiceConfig {
                traffic_rules,
                load_balancer,
                drain_timeout_ms,
                acceleration,
                ..specs
            }
        },
    )
}

/// Any object that keeps all rules.
pub(crate) fn object() -> impl Strategy<Value = wire::Object> {
    let spec = prop_oneof![
        service().prop_map(wire::object::Spec::Service),
        endpoint().prop_map(wire::object::Spec::Endpoint),
        config().prop_map(wire::object::Spec::ServiceConfig).boxed(),
    ];
    (metadata(), spec)
        .prop_map(|(metadata, spec)| wire::Object { metadata: Some(metadata), spec: Some(spec) })
}

proptest! {
    #[test]
    fn an_object_survives_yaml(object in object()) {
        let text = to_yaml(&object).expect("written");
        let read = accepted(&text);
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(read[0].object(), &object, "{}", text);
    }

    #[test]
    fn an_object_survives_the_model(object in object()) {
        let model = Object::try_from(object).expect("valid");
        let wire = wire::Object::from(&model);
        prop_assert_eq!(&Object::try_from(wire.clone()).expect("still valid"), &model);
        let read = accepted(&to_yaml(&wire).expect("written"));
        prop_assert_eq!(read[0].object(), &wire);
    }

    #[test]
    fn objects_survive_a_stream_of_documents(objects in prop::collection::vec(object(), 0..4)) {
        let text: Vec<_> = objects.iter().map(|object| to_yaml(object).expect("written")).collect();
        let read = accepted(&text.join("---\n"));
        let read: Vec<_> = read.into_iter().map(crate::manifest::Located::into_object).collect();
        prop_assert_eq!(read, objects);
    }
}

#[test]
fn fields_have_the_order_of_the_protos_and_defaults_are_left_out() {
    let text = "
spec:
  ports: [{port: 80, name: http, appProtocol: http}]
  vips: [10.96.0.10]
metadata: {resourceVersion: 7, labels: {b: '1', a: ''}, name: reviews}
kind: Service
apiVersion: mesh.dev/v1alpha1
";
    let written = to_yaml(accepted(text)[0].object()).expect("written");
    assert_eq!(
        written,
        "\
apiVersion: mesh.dev/v1alpha1
kind: Service
metadata:
  namespace: default
  name: reviews
  labels:
    a: \"\"
    b: \"1\"
  resourceVersion: 7
spec:
  vips:
  - 10.96.0.10
  ports:
  - name: http
    port: 80
    appProtocol: http
"
    );
}

#[test]
fn an_object_without_spec_cannot_be_written() {
    let error = to_yaml(&wire::Object::default()).expect_err("no spec");
    assert!(error.to_string().contains("no spec"), "{error}");
}
