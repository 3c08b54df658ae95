//! Each warning: when it is given, at which object, and when it is not.

mod clients;
mod resilience;

use mesh_api::manifest::{Located, parse};

use crate::testing::model;
use crate::validate::{Batch, plan};
use crate::world::{Stored, World};

/// Objects in short: `svc NAME VIP,... PORTS`, `ep NAME SERVICE ADDRESS MORE`, `sc NAME SPEC`.
fn batch(lines: &str) -> Batch {
    let manifests: Vec<String> = lines
        .trim()
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.trim().splitn(5, ' ').collect();
            let (kind, spec) = match words[..] {
                ["svc", _, vips] => {
                    ("Service", format!("vips: ['{}'], ports: [{{port: 80}}]", vips.replace(',', "','")))
                }
                ["svc", _, vips, ..] => {
                    ("Service", format!("vips: ['{}'], {}", vips.replace(',', "','"), words[3..].join(" ")))
                }
                ["ep", _, service, address] => {
                    ("Endpoint", format!("service: {service}, address: '{address}'"))
                }
                ["ep", _, service, address, more] => {
                    ("Endpoint", format!("service: {service}, address: '{address}', {more}"))
                }
                ["sc", _, ..] => ("ServiceConfig", words[2..].join(" ")),
                _ => panic!("{line}"),
            };
            let name = words[1];
            format!(
                "{{apiVersion: mesh.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
            )
        })
        .collect();
    let objects = parse("f", &manifests.join("---\n")).expect("valid");
    Batch::put(objects.into_iter().map(Located::into_object).map(model))
}

fn after(world: &World, lines: &str) -> (World, Vec<String>) {
    let plan = plan(world, &batch(lines)).expect("accepted");
    let warnings = plan.warnings.iter();
    let said = warnings.map(|it| format!("{} {it}", it.index).replace("default/", ""));
    (plan.world, said.collect())
}

fn said(lines: &str) -> Vec<String> {
    after(&World::default(), lines).1
}

const NONE: [&str; 0] = [];

#[test]
fn an_endpoint_of_no_service_is_said_once_per_service() {
    let (world, warnings) = after(
        &World::default(),
        "ep e1 web 10.0.0.1\nep e2 web 10.0.0.2\nep d1 db 10.0.0.3\nep e3 web fd00::1",
    );
    assert_eq!(
        warnings,
        [
            "0 Endpoint e1: spec.service: there is no Service web yet: nothing is sent to this endpoint, nor to 2 more of this request",
            "2 Endpoint d1: spec.service: there is no Service db yet: nothing is sent to this endpoint",
        ]
    );
    assert_eq!(after(&world, "svc db 10.1.0.1").1, NONE);
    // Also where it is applied again, unchanged.
    assert_eq!(after(&world, "ep d1 db 10.0.0.3").1.len(), 1);
    assert_eq!(said("ep e1 web 10.0.0.1\nsvc web 10.1.0.1"), NONE);
}

#[test]
fn an_address_needs_an_endpoint_of_its_family() {
    let (world, warnings) = after(&World::default(), "svc web 10.1.0.1,fd01::1,fd01::2");
    assert_eq!(warnings, NONE, "the endpoints may be on their way");
    let none =
        "connections to fd01::1 find no backend: no endpoint of Service web has an IPv6 address";
    let (with_v4, warnings) = after(&world, "ep e1 web 10.0.0.1");
    assert_eq!(warnings, [format!("0 Endpoint e1: spec.address: {none}")]);
    assert_eq!(
        after(&with_v4, "svc web 10.1.0.1,fd01::1").1,
        [format!("0 Service web: spec.vips[1]: {none}")]
    );
    let (both, warnings) = after(&with_v4, "ep e2 web fd00::2");
    assert_eq!(warnings, NONE);
    assert_eq!(after(&both, "svc web 10.1.0.1,fd01::1").1, NONE);
}

#[test]
fn traffic_rules_lead_to_the_endpoints_that_count() {
    let (world, warnings) = after(
        &World::default(),
        "svc web 10.1.0.1,fd01::1\nsvc six fd01::6\nep e1 web 10.0.0.1\nep e2 six fd00::2
         sc web trafficRules: [{destination: {service: web}, weight: 1}, {destination: {service: six}, weight: 1}]",
    );
    assert_eq!(warnings, NONE);
    let (_, warnings) =
        after(&world, "sc web trafficRules: [{destination: {service: six}, weight: 1}]");
    assert_eq!(
        warnings,
        [
            "0 ServiceConfig web: spec.trafficRules: connections to 10.1.0.1 find no backend: no endpoint of Service web has an IPv4 address"
        ]
    );
}

#[test]
fn an_endpoint_of_the_other_family_gets_nothing() {
    assert_eq!(
        said("svc web 10.1.0.1\nep a web 10.0.0.1\nep b web fd00::1\nep c web fd00::2"),
        [
            "2 Endpoint b: spec.address: Service web has no IPv6 address: nothing is sent to this endpoint, nor to 1 more of this request"
        ]
    );
    // Another service may send to it.
    let used = "svc web 10.1.0.1\nep a web 10.0.0.1\nep b web fd00::1\nsvc six fd01::6
                sc six trafficRules: [{destination: {service: web}, weight: 1}]";
    assert_eq!(said(used), NONE);
}

#[test]
fn strict_locality_needs_endpoints_that_say_where_they_are() {
    let world = |more: &str| {
        let lines = format!("svc web 10.1.0.1\nep e1 web 10.0.0.1{more}");
        after(&World::default(), &lines).0
    };
    let strict = |scope: &str| {
        format!("sc web loadBalancer: {{locality: {{mode: Strict, scope: {scope}}}}}")
    };
    let said = |scope: &str, needed: &str| {
        [format!(
            "0 ServiceConfig web: spec.loadBalancer.locality.mode: with locality mode Strict and scope {scope}, connections to Service web find no backend: no endpoint states {needed}"
        )]
    };
    let nowhere = world("");
    assert_eq!(after(&nowhere, &strict("Node")).1, said("Node", "a node"));
    assert_eq!(after(&nowhere, &strict("Zone")).1, said("Zone", "a node or a zone"));
    assert_eq!(after(&nowhere, &strict("Region")).1, said("Region", "a node, a zone or a region"));
    let prefer = "sc web loadBalancer: {locality: {mode: PreferLocal}}";
    assert_eq!(after(&nowhere, prefer).1, NONE);

    let zone = world(" locality: {zone: a}");
    assert_eq!(after(&zone, &strict("Node")).1.len(), 1);
    assert_eq!(after(&zone, &strict("Zone")).1, NONE);
    let node = world(" node: n1");
    assert_eq!(after(&node, &strict("Node")).1, NONE);
    assert_eq!(after(&node, &strict("Region")).1, NONE);

    // The last one that said so leaves: the next endpoint is told.
    let (configured, _) = after(&node, &strict("Node"));
    let (_, warnings) = after(&configured, "ep e1 web 10.0.0.1");
    assert!(warnings[0].starts_with("0 Endpoint e1: spec.node: with locality"), "{warnings:?}");
}

#[test]
fn many_warnings_are_summed_up() {
    let lines: Vec<String> = (0..150).map(|at| format!("ep e{at} s{at} 10.0.0.1")).collect();
    let warnings = said(&lines.join("\n"));
    assert_eq!(warnings.len(), 101);
    assert!(warnings[100].ends_with(" 50 more warnings are not listed"), "{}", warnings[100]);
    assert!(warnings[99].starts_with("99 Endpoint e99: "), "{}", warnings[99]);
}

#[test]
fn deletions_and_refusals_warn_of_nothing() {
    let (world, _) = after(&World::default(), "svc web 10.1.0.1,fd01::1\nep e1 web 10.0.0.1");
    let references = world.list(mesh_api::model::Kind::Service, None);
    let references: Vec<_> =
        references.map(|stored: &std::sync::Arc<Stored>| stored.object.reference()).collect();
    let plan = plan(&world, &Batch::delete(references)).expect("accepted");
    assert_eq!(plan.warnings, []);
}
