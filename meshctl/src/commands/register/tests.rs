//! Flags to endpoints.

use clap::Parser as _;

use super::*;

fn parsed(flags: &[&str]) -> Result<wire::Object, Failure> {
    let common = ["meshctl", "register", "--service", "reviews"];
    let cli = crate::cli::Cli::parse_from(common.iter().chain(flags));
    let crate::cli::Command::Register(args) = cli.command else {
        panic!("register");
    };
    endpoint(args)
}

#[test]
fn flags_become_an_endpoint() {
    let flags = ["--version", "v1", "--address", "10.0.0.1", "--port", "http=8080", "--ttl", "10s"];
    let object = parsed(&flags).expect("valid");
    assert_eq!(
        mesh_api::manifest::to_yaml(&object).expect("YAML"),
        "\
apiVersion: mesh.dev/v1alpha1
kind: Endpoint
metadata:
  namespace: default
  name: reviews-10-0-0-1
spec:
  service: reviews
  version: v1
  address: 10.0.0.1
  ports:
    http: 8080
  ttl: 10s
"
    );
}

#[test]
fn heartbeats_need_a_lease() {
    let spec = |object: wire::Object| match object.spec {
        Some(wire::object::Spec::Endpoint(spec)) => spec.ttl_ms,
        other => panic!("{other:?}"),
    };
    let ttl = |flags: &[&str]| parsed(flags).map(spec);
    assert_eq!(ttl(&["--address", "10.0.0.1", "--heartbeat"]).expect("valid"), 30_000);
    assert_eq!(ttl(&["--address", "10.0.0.1"]).expect("valid"), 0);
    let zero = ttl(&["--address", "10.0.0.1", "--heartbeat", "--ttl", "0"]);
    assert_eq!(zero.expect_err("zero").exit_code(), 2);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let failure = parsed(&["--address", "nowhere", "--name", "X"]).expect_err("wrong");
    assert_eq!(failure.exit_code(), 2);
    let said = failure.to_string();
    assert!(said.contains("metadata.name"), "{said}");
    assert!(said.contains("spec.address"), "{said}");
}

#[test]
fn the_name_comes_from_the_address() {
    for (address, name) in [
        ("10.0.0.1", "a-10-0-0-1"),
        ("FD00:0::1", "a-fd00--1"),
        ("fd00::", "a-fd00--0"),
        ("::1", "a---1"),
    ] {
        assert_eq!(default_name("a", address), name);
        assert_eq!(
            name.parse::<mesh_api::model::Name>().map(|name| name.to_string()).as_deref(),
            Ok(name)
        );
    }
}

#[test]
fn locality_is_optional() {
    let locality = |flags: &[&str]| {
        let all: Vec<_> = ["--address", "10.0.0.1"].iter().chain(flags).copied().collect();
        match parsed(&all).expect("valid").spec {
            Some(wire::object::Spec::Endpoint(spec)) => spec.locality,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(locality(&[]), None);
    let zone = wire::Locality { region: String::new(), zone: "a".to_owned() };
    assert_eq!(locality(&["--zone", "a"]), Some(zone));
}
