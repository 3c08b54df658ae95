//! A backend is removed under UDP load: clients with connected sockets, which would never notice
//! by themselves, reach another one. The time is measured and printed; the deadline here is
//! generous, since a test is no benchmark.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::stats::millis;
use mesh_tests::testbed::{PORT, Testbed, VIP, VIP6, backend, backend6, mapped};
use mesh_tests::traffic::{Flows, Outcome, Traffic};
use mesh_tests::ui;
use mesh_tests::wait::eventually;

const FLOWS: NonZeroU32 = NonZeroU32::new(12).unwrap();

/// Two backends of each family behind one service.
fn start(what: &str) -> anyhow::Result<(Testbed, Backends)> {
    let bed = Testbed::start(what)?;
    let backends = [
        ("4a", SocketAddr::new(backend(0).into(), PORT)),
        ("4b", SocketAddr::new(backend(1).into(), PORT)),
        ("6a", SocketAddr::new(backend6(0).into(), PORT)),
        ("6b", SocketAddr::new(backend6(1).into(), PORT)),
    ];
    let servers = Backends::start(&Place::in_netns(&bed.netns), Mode::Udp, &backends)?;
    let vips = [(*VIP.ip()).into(), (*VIP6.ip()).into()];
    let ports = [("main", VIP.port(), PORT, "UDP")];
    let mut manifest = Manifest::new().service_at("web", &vips, &ports, "");
    for (name, address) in backends {
        manifest = manifest.endpoint("web", &format!("web-{name}"), name, address.ip());
    }
    bed.meshctl.apply(&manifest)?;
    Ok((bed, servers))
}

fn load(bed: &Testbed, mode: Mode) -> anyhow::Result<Traffic> {
    let flows = Flows {
        targets: vec![VIP.into(), VIP6.into(), mapped(VIP.into())],
        flows: FLOWS,
        // Longer than the deadline: nobody gets over the loss by giving up.
        patience: Duration::from_secs(15),
        ..Flows::to(VIP, mode)
    };
    Traffic::flows(&bed.node.place(), &flows)
}

/// Each flow's longest silence of the kind that a removal makes: from its last answer by a
/// removed backend to its first by another.
fn gaps(outcome: &Outcome, gone: &[&str]) -> Vec<u64> {
    (0..FLOWS.get())
        .filter_map(|flow| {
            let answers: Vec<_> = outcome
                .records
                .iter()
                .filter(|record| record.flow == flow)
                .filter_map(|record| {
                    let name = record.outcome.as_ref().ok()?;
                    Some((record.start_ns + record.duration_ns, gone.contains(&&**name)))
                })
                .collect();
            let last = answers.iter().rposition(|(_, gone)| *gone)?;
            Some(answers.get(last + 1)?.0 - answers.get(last)?.0)
        })
        .collect()
}

#[test]
fn connected_clients_of_a_removed_backend_reach_another() -> anyhow::Result<()> {
    let (bed, _servers) = start("removeudp")?;
    let traffic = load(&bed, Mode::Udp)?;
    traffic.wait_for(1_000, Duration::from_secs(20))?;
    let before = traffic.peek();
    assert_eq!(before.failed(), 0, "{:?}", before.failures());
    let bound = before.names_by_flow();
    assert_eq!(bound.len(), usize::try_from(FLOWS.get())?);
    assert!(bound.values().all(|names| names.len() == 1), "flows moved: {bound:?}");

    // The servers go on answering: only the configuration says that they are gone.
    bed.meshctl.ok(&["delete", "endpoint", "web-4a"])?;
    bed.meshctl.ok(&["delete", "endpoint", "web-6a"])?;
    let gone = [Arc::from("4a"), Arc::from("6a")];
    eventually(|| {
        let now = traffic.peek().names_by_flow();
        let stuck = now.values().filter(|names| names.last().is_some_and(|n| gone.contains(n)));
        match stuck.count() {
            0 => Ok(()),
            stuck => Err(format!("{stuck} flows still use a removed backend")),
        }
    })?;
    traffic.wait_for(500, Duration::from_secs(20))?;
    let outcome = traffic.stop()?;
    let mut lost = 0;
    for (flow, names) in &bound {
        let after = &outcome.names_by_flow()[flow];
        if gone.contains(&names[0]) {
            lost += 1;
            assert_eq!(after.len(), 2, "{flow:?}: {after:?}");
        } else {
            assert_eq!(after, names, "a flow to another backend was disturbed");
        }
    }
    let gaps = gaps(&outcome, &["4a", "6a"]);
    assert_eq!(gaps.len(), lost);
    assert!(lost > 0, "nobody used the removed backends: {bound:?}");
    let slowest = gaps.iter().copied().max().unwrap_or(0);
    ui::say(format!(
        "{lost} of {FLOWS} connected flows lost their backend and reached another: slowest after \
         {:.1} ms; errors on the way: {:?}",
        millis(slowest),
        outcome.failures()
    ));
    // A destroyed socket has ECONNABORTED for who is reading, and no peer any more for who
    // writes next (EDESTADDRREQ): one of them, once a flow, and nothing else.
    let failures = outcome.failures();
    assert!(failures.keys().all(|errno| ["103", "89"].contains(errno)), "{failures:?}");
    assert!(outcome.failed() <= u64::try_from(lost)?, "{failures:?}");
    Ok(())
}

#[test]
fn unconnected_clients_of_a_removed_backend_reach_another_without_an_error() -> anyhow::Result<()> {
    let (bed, _servers) = start("removesendto")?;
    let flows = Flows { flows: FLOWS, ..Flows::to(mapped(VIP.into()), Mode::UdpSendto) };
    let traffic = Traffic::flows(&bed.node.place(), &flows)?;
    traffic.wait_for(500, Duration::from_secs(20))?;
    let bound = traffic.peek().names_by_flow();
    bed.meshctl.ok(&["delete", "endpoint", "web-4a"])?;
    // What is asked from now on, with a margin for what is on its way, goes elsewhere.
    eventually(|| {
        let now = monotonic_ns();
        traffic.wait_for(100, Duration::from_secs(5)).map_err(|error| error.to_string())?;
        match traffic.peek().between(now, u64::MAX).answered_by("4a") {
            0 => Ok(()),
            more => Err(format!("{more} answers by the removed backend")),
        }
    })?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    let moved = outcome.names_by_flow().values().filter(|names| names.len() > 1).count();
    let lost = bound.values().filter(|names| &*names[0] == "4a").count();
    assert_eq!(moved, lost);
    Ok(())
}
