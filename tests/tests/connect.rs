//! What one `connect()` sees: which address it is shown, and what happens without a backend.

use std::net::{Ipv4Addr, SocketAddrV4};

use mesh_tests::backend::Backends;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic, probe};

#[test]
fn getpeername_shows_the_service_and_the_backend_sees_the_client() -> anyhow::Result<()> {
    let bed = Testbed::start("peer")?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;

    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["name"], "v1", "{seen}");
    assert_eq!(seen["peer"], VIP.to_string());
    let local: SocketAddrV4 = seen["local"].as_str().unwrap_or_default().parse()?;
    assert_ne!(local.ip(), VIP.ip());

    // A connection to the backend itself is no business of the mesh.
    let direct = SocketAddrV4::new(backend(0), PORT);
    let seen = probe(&bed.node.place(), direct, Mode::Greet)?;
    assert_eq!(seen["peer"], direct.to_string());
    Ok(())
}

#[test]
fn only_the_port_of_the_service_and_only_its_cgroup_are_redirected() -> anyhow::Result<()> {
    let bed = Testbed::start("scope")?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;

    let other_port = SocketAddrV4::new(*VIP.ip(), 81);
    let seen = probe(&bed.node.place(), other_port, Mode::Greet)?;
    assert_eq!(seen["connected"], false, "{seen}");

    let outside = Place::in_netns(&bed.netns);
    let seen = probe(&outside, VIP, Mode::Greet)?;
    assert_eq!(seen["connected"], false, "{seen}");
    Ok(())
}

const EHOSTUNREACH: i32 = 113;

/// Somebody listens at the service's own address, to see what gets there.
fn listen_on_the_vip(bed: &Testbed) -> anyhow::Result<Backends> {
    bed.netns.addresses(&[&format!("{}/32", VIP.ip())])?;
    let place = Place::in_netns(&bed.netns);
    Backends::start(&place, Mode::Greet, &[("the-vip-itself", VIP)])
}

#[test]
fn service_without_endpoints_refuses_at_once() -> anyhow::Result<()> {
    let bed = Testbed::start("refuse")?;
    let _vip = listen_on_the_vip(&bed)?;
    bed.meshctl.apply(&Manifest::new().service("web", VIP, PORT))?;

    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["connected"], false, "{seen}");
    assert_eq!(seen["errno"], EHOSTUNREACH, "{seen}");
    let outcome = Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 500)?;
    assert_eq!(outcome.failures().get("113"), Some(&500));
    Ok(())
}

#[test]
fn service_without_endpoints_passes_through_when_it_says_so() -> anyhow::Result<()> {
    let bed = Testbed::start("pass")?;
    let _vip = listen_on_the_vip(&bed)?;
    let manifest = Manifest::new().service_with("web", VIP, PORT, "  onNoBackend: PassThrough\n");
    bed.meshctl.apply(&manifest)?;

    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["name"], "the-vip-itself", "{seen}");
    assert_eq!(seen["peer"], VIP.to_string());

    // With an endpoint, the connections go there again.
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    let manifest = Manifest::new().endpoint("web", "web-v1", "v1", backend(0));
    bed.meshctl.apply(&manifest)?;
    let seen = probe(&bed.node.place(), VIP, Mode::Greet)?;
    assert_eq!(seen["name"], "v1", "{seen}");
    Ok(())
}

#[test]
fn endpoint_and_service_changes_are_live_when_apply_returns() -> anyhow::Result<()> {
    let bed = Testbed::start("live")?;
    let names: Vec<String> = (0..20).map(|n| format!("b{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _servers = bed.serve(Mode::Greet, &names)?;
    let place = bed.node.place();
    bed.meshctl.apply(&Manifest::new().service("web", VIP, PORT))?;
    for (n, name) in (0..).zip(&names) {
        // The only endpoint moves: whoever answers is who was applied last.
        let manifest = Manifest::new().endpoint("web", "web-only", "v1", backend(n));
        bed.meshctl.apply(&manifest)?;
        let seen = probe(&place, VIP, Mode::Greet)?;
        assert_eq!(seen["name"], *name);
    }
    bed.meshctl.ok(&["delete", "service", "web"])?;
    let gone = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80);
    let manifest = Manifest::new().service("other", gone, PORT);
    bed.meshctl.apply(&manifest)?;
    let seen = probe(&place, VIP, Mode::Greet)?;
    assert_eq!(seen["connected"], false, "{seen}");
    Ok(())
}
