//! What the fields of the model may hold, and what is said where they may not.

mod health;
mod resilience;
mod routing;

use std::time::Duration;

use crate::manifest::{Located, parse};
use crate::model::{
    Acceleration, ClientKey, Errno, HashKey, LoadBalancer, LocalityMode, LocalityPolicy,
    LocalityScope, Object, OnNoBackend, Policy, Protocol, Service, ServiceConfig, SessionAffinity,
};
use crate::wire;

const SERVICE: &str = "ports: [{port: 80}], vips: [10.96.0.10]";

/// The object with this spec, or what is wrong with it, without file and object.
fn read(kind: &str, spec: &str) -> Result<Object, Vec<String>> {
    let text = format!(
        "{{apiVersion: mesh.dev/v1alpha1, kind: {kind}, metadata: {{name: a}}, spec: {{{spec}}}}}"
    );
    match parse("f", &text) {
        Ok(mut found) => {
            let object = found.pop().map(Located::into_object).expect("one");
            Ok(Object::try_from(object).expect("checked before"))
        }
        Err(problems) => {
            let prefix = format!("f:1: {kind} default/a: ");
            let said = problems.iter().map(ToString::to_string);
            Err(said.map(|said| said.replace(&prefix, "")).collect())
        }
    }
}

fn service(spec: &str) -> Service {
    match read("Service", spec) {
        Ok(Object::Service(service)) => service,
        other => panic!("{other:?}"),
    }
}

fn config(spec: &str) -> ServiceConfig {
    match read("ServiceConfig", spec) {
        Ok(Object::ServiceConfig(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// What a config is after a trip over the wire.
fn again(config: &ServiceConfig) -> ServiceConfig {
    read_wire(wire::ServiceConfig::from(config))
}

fn read_wire(spec: wire::ServiceConfig) -> ServiceConfig {
    let metadata = wire::Metadata {
        namespace: "default".to_owned(),
        name: "a".to_owned(),
        ..wire::Metadata::default()
    };
    let spec = Some(wire::object::Spec::ServiceConfig(spec));
    match Object::try_from(wire::Object { metadata: Some(metadata), spec }) {
        Ok(Object::ServiceConfig(config)) => config,
        other => panic!("{other:?}"),
    }
}

fn refused(kind: &str, spec: &str, said: &[&str]) {
    assert_eq!(read(kind, spec).expect_err(spec), said, "{spec}");
}

fn vips(vips: &str) -> Vec<String> {
    let service = service(&format!("ports: [{{port: 80}}], vips: [{vips}]"));
    service.vips.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_of_both_families_are_read_and_normalised() {
    assert_eq!(vips("10.96.0.10, 'FD00:0::0A'"), ["10.96.0.10", "fd00::a"]);
    assert_eq!(vips("'::ffff:10.0.0.1', '::ffff:a00:2'"), ["10.0.0.1", "10.0.0.2"]);
    for address in ["169.254.20.10", "2001:db8::1", "64:ff9b::a00:1"] {
        assert_eq!(vips(&format!("'{address}'")), [address]);
    }
    for (address, kept) in
        [("127.0.0.2", "127.0.0.2"), ("'::1'", "::1"), ("'::ffff:1.2.3.4'", "1.2.3.4")]
    {
        let Ok(Object::Endpoint(endpoint)) =
            read("Endpoint", &format!("service: a, address: {address}"))
        else {
            panic!("{address}");
        };
        assert_eq!(endpoint.address.to_string(), kept);
    }
}

#[test]
fn what_is_not_the_address_of_one_host_is_refused() {
    const NOT_ONE: &str = "is not the address of one host";
    let alone = "means something only together with an interface: use another address";
    let own = "is kept for the agents' own checks: use another address";
    let loopback = "is the loopback of every node: use another address";
    for (address, shown, said) in [
        ("0.0.0.0", "0.0.0.0", NOT_ONE),
        ("255.255.255.255", "255.255.255.255", NOT_ONE),
        ("224.0.0.1", "224.0.0.1", NOT_ONE),
        ("::", "::", NOT_ONE),
        ("::ffff:0.0.0.0", "0.0.0.0", NOT_ONE),
        ("FF02::1", "ff02::1", NOT_ONE),
        ("fe80::1", "fe80::1", alone),
        (
            "::10.0.0.1",
            "::a00:1",
            "is an IPv4-compatible address, which nothing routes (RFC 4291): use IPv4",
        ),
        ("127.0.0.53", "127.0.0.53", loopback),
        ("::1", "::1", loopback),
        ("::ffff:127.0.0.1", "127.0.0.1", loopback),
        ("192.0.0.8", "192.0.0.8", own),
        ("100::8", "100::8", own),
    ] {
        let spec = format!("ports: [{{port: 80}}], vips: ['{address}']");
        refused("Service", &spec, &[&format!("spec.vips[0]: {shown} {said}")]);
    }
    for text in ["fe80::1%eth0", "10.0.0.1:80", "[::1]", "10.0.0", "reviews"] {
        let spec = format!("service: a, address: '{text}'");
        refused("Endpoint", &spec, &[&format!("spec.address: {text:?} is not an IP address")]);
    }
    refused("Endpoint", "service: a", &["spec.address: required: an IPv4 or IPv6 address"]);
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    refused(
        "Service",
        "ports: [{port: 80}], vips: ['fd00::1', 10.0.0.1, 'fd00:0::01', '::ffff:10.0.0.1']",
        &["spec.vips[2]: fd00::1 is listed twice", "spec.vips[3]: 10.0.0.1 is listed twice"],
    );
}

#[test]
fn a_port_number_belongs_to_a_protocol() {
    let both = service(
        "vips: [10.0.0.1], ports: [{name: dns, port: 53}, {name: dns-udp, port: 53, protocol: UDP}]",
    );
    assert_eq!(both.ports[0].protocol, Protocol::Tcp);
    assert_eq!((both.ports[1].protocol, both.ports[1].protocol.number()), (Protocol::Udp, 17));
    refused(
        "Service",
        "vips: [10.0.0.1], ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: UDP}]",
        &["spec.ports[1].port: 53/UDP is listed twice"],
    );
}

#[test]
fn a_refused_connection_meets_the_chosen_error() {
    assert_eq!(service(SERVICE).on_no_backend, OnNoBackend::Refuse(Errno::HostUnreachable));
    for errno in Errno::ALL {
        let read = service(&format!("{SERVICE}, refuseErrno: {errno}"));
        assert_eq!(read.on_no_backend, OnNoBackend::Refuse(errno));
        let number = i32::try_from(errno.number()).expect("small");
        let said = std::io::Error::from_raw_os_error(number).to_string();
        assert!(!said.starts_with("Unknown"), "{errno}: {said}");
    }
    refused(
        "Service",
        &format!("{SERVICE}, onNoBackend: PassThrough, refuseErrno: EPERM"),
        &["spec.refuseErrno: nothing is refused with onNoBackend: PassThrough: remove one of them"],
    );
    refused(
        "Service",
        &format!("{SERVICE}, refuseErrno: EIO"),
        &[
            "spec.refuseErrno: \"EIO\" is not one of EHOSTUNREACH, ECONNREFUSED, ENETUNREACH, EACCES, EPERM, ETIMEDOUT, ECONNRESET, EAGAIN",
        ],
    );
}

#[test]
fn affinity_has_a_key_and_a_time() {
    let affinity = |spec: &str| service(&format!("{SERVICE}, sessionAffinity: {{{spec}}}"));
    let read = |spec| affinity(spec).session_affinity.expect("some");
    let hours = Duration::from_hours;
    let namespace = SessionAffinity { key: ClientKey::NetworkNamespace, timeout: hours(3) };
    assert_eq!(service(SERVICE).session_affinity, None);
    assert_eq!(read("clientIP: true"), namespace);
    assert_eq!(read("key: NetworkNamespace"), namespace);
    assert_eq!(
        read("key: Workload, timeout: 168h"),
        SessionAffinity { key: ClientKey::Workload, timeout: hours(168) }
    );
    let wrong = |spec: &str, said: &str| {
        let said = format!("spec.sessionAffinity{said}");
        refused("Service", &format!("{SERVICE}, sessionAffinity: {{{spec}}}"), &[&said]);
    };
    let required = ": required: clientIP: true, key: NetworkNamespace or key: Workload";
    wrong("", required);
    wrong("clientIP: false, timeout: 1s", required);
    wrong(
        "clientIP: true, key: Workload",
        ".key: clientIP: true means key: NetworkNamespace: remove one of them",
    );
    for timeout in ["0s", "999ms", "169h"] {
        wrong(
            &format!("clientIP: true, timeout: {timeout}"),
            ".timeout: out of range: use 1s to 168h, or leave it out for 3h",
        );
    }
    wrong("clientIp: true", ".clientIp: unknown field: did you mean \"clientIP\"?");
}

#[test]
fn a_load_balancer_has_policy_key_and_locality() {
    let read = |spec: &str| config(&format!("loadBalancer: {{{spec}}}")).load_balancer;
    assert_eq!(config("").load_balancer, LoadBalancer::default());
    assert_eq!(read("policy: Random"), LoadBalancer::default());
    for (text, policy) in [
        ("RoundRobin", Policy::RoundRobin),
        ("LeastConnections", Policy::LeastConnections),
        ("Maglev", Policy::Maglev),
    ] {
        let expected = LoadBalancer { policy, ..LoadBalancer::default() };
        assert_eq!(read(&format!("policy: {text}")), expected);
        assert_eq!(policy.as_str(), text);
    }
    assert_eq!(
        read("policy: Maglev, hashKey: Connection, locality: {mode: Strict, scope: Zone}"),
        LoadBalancer {
            policy: Policy::Maglev,
            hash_key: HashKey::Connection,
            locality: Some(LocalityPolicy {
                mode: LocalityMode::Strict,
                scope: LocalityScope::Zone,
            }),
            ..LoadBalancer::default()
        }
    );
    let near = LocalityPolicy { mode: LocalityMode::PreferLocal, scope: LocalityScope::Node };
    assert_eq!(read("locality: {mode: PreferLocal}").locality, Some(near));
    for (spec, said) in [
        (
            "hashKey: Workload",
            "policy: hashKey is only for Maglev: use that policy, or remove hashKey",
        ),
        ("locality: {scope: Zone}", "locality.mode: required: PreferLocal or Strict"),
        (
            "policy: Maglev, hashKey: SourceIP",
            "hashKey: \"SourceIP\" is not one of NetworkNamespace, Workload, Connection",
        ),
    ] {
        let said = format!("spec.loadBalancer.{said}");
        refused("ServiceConfig", &format!("loadBalancer: {{{spec}}}"), &[&said]);
    }
}

#[test]
fn a_drain_timeout_of_nothing_is_not_no_drain_timeout() {
    assert_eq!(config("").drain_timeout, None);
    assert_eq!(config("drainTimeout: 0s").drain_timeout, Some(Duration::ZERO));
    assert_eq!(config("drainTimeout: 24h").drain_timeout, Some(Duration::from_hours(24)));
    let said = "spec.drainTimeout: out of range: use 0s to 24h, or leave it out";
    refused("ServiceConfig", "drainTimeout: 24h1ms", &[said]);
}

#[test]
fn acceleration_is_off_unless_it_is_on() {
    assert_eq!(config("").acceleration, Acceleration::Off);
    assert_eq!(config("acceleration: Off").acceleration, Acceleration::Off);
    assert_eq!(config("acceleration: On").acceleration, Acceleration::On);
    assert_eq!(config("acceleration: Auto").acceleration, Acceleration::Auto);
    let wrong = |value: &str, said: &str| {
        let said = format!("spec.acceleration: {said}");
        refused("ServiceConfig", &format!("acceleration: {value}"), &[&said]);
    };
    wrong("on", "\"on\" is not one of Off, On, Auto");
    // What other programs make of `On` when they write a manifest again.
    wrong("true", "expected text (put it in quotes), found the boolean true");
}

#[test]
fn numbers_that_name_nothing_are_all_reported() {
    let metadata = Some(wire::Metadata {
        namespace: "default".to_owned(),
        name: "a".to_owned(),
        ..wire::Metadata::default()
    });
    let fields = |spec| -> Vec<String> {
        let object = wire::Object { metadata: metadata.clone(), spec: Some(spec) };
        let errors = Object::try_from(object).expect_err("invalid");
        errors.into_iter().map(|error| error.field).collect()
    };
    let port = wire::ServicePort { port: 80, protocol: 99, ..wire::ServicePort::default() };
    let affinity = wire::SessionAffinity { key: 99, ..wire::SessionAffinity::default() };
    let service = wire::Service {
        vips: vec!["10.0.0.1".to_owned()],
        ports: vec![port],
        on_no_backend: 99,
        session_affinity: Some(affinity),
        refuse_errno: 99,
    };
    assert_eq!(
        fields(wire::object::Spec::Service(service)),
        [
            "spec.ports[0].protocol",
            "spec.refuseErrno",
            "spec.onNoBackend",
            "spec.sessionAffinity.key"
        ]
    );
    let locality = Some(wire::LocalityPolicy { mode: 99, scope: 99 });
    let config = wire::ServiceConfig {
        load_balancer: Some(wire::LoadBalancer {
            policy: 99,
            hash_key: 99,
            locality,
            ..wire::LoadBalancer::default()
        }),
        acceleration: 99,
        ..wire::ServiceConfig::default()
    };
    let fields = fields(wire::object::Spec::ServiceConfig(config));
    let expected = [
        "loadBalancer.policy",
        "loadBalancer.hashKey",
        "loadBalancer.locality.mode",
        "loadBalancer.locality.scope",
        "acceleration",
    ];
    assert_eq!(fields, expected.map(|field| format!("spec.{field}")));
}
