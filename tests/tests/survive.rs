//! The data path outlives its agent and its control plane.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use mesh_common::names;
use mesh_tests::bpftool;
use mesh_tests::load::{Mode, monotonic_ns};
use mesh_tests::manifest::Manifest;
use mesh_tests::node::Node;
use mesh_tests::testbed::{Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// Maps whose indexes must not move.
const CONFIG_MAPS: [&str; 4] = [names::FRONTENDS, names::SERVICES, names::SLOTS, names::BACKENDS];

fn serve_two(bed: &Testbed) -> anyhow::Result<mesh_tests::backend::Backends> {
    let servers = bed.serve(Mode::Greet, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 70), ("v2", 30)])?;
    Ok(servers)
}

fn load(bed: &Testbed) -> anyhow::Result<Traffic> {
    let plan = Plan {
        concurrency: NonZeroU32::MIN.saturating_add(1),
        pause: Duration::from_micros(100),
        ..Plan::to(VIP, Mode::Greet)
    };
    Traffic::start(&bed.node.place(), plan)
}

#[test]
fn agent_killed_and_restarted_under_load_loses_no_connection() -> anyhow::Result<()> {
    let mut bed = Testbed::start("kill")?;
    let _servers = serve_two(&bed)?;
    let traffic = load(&bed)?;
    traffic.wait_for(1_000, PATIENCE)?;
    for _ in 0..3 {
        bed.node.kill()?;
        let dead = monotonic_ns();
        traffic.wait_for(2_000, PATIENCE)?;
        let without = traffic.peek().between(dead, u64::MAX);
        assert!(without.total() >= 1_900, "{}", without.total());
        bed.node.run()?;
        bed.node.wait_ready()?;
        traffic.wait_for(1_000, PATIENCE)?;
    }
    bed.node.stop()?;
    traffic.wait_for(1_000, PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    assert!(outcome.answered_by("v2") > 0);
    Ok(())
}

#[test]
fn weights_changed_a_hundred_times_under_load_lose_no_connection() -> anyhow::Result<()> {
    let bed = Testbed::start("churn")?;
    let _servers = serve_two(&bed)?;
    let traffic = load(&bed)?;
    for round in 0..100_u32 {
        let weights = [("v1", round % 7), ("v2", 1 + round % 5)];
        bed.meshctl.apply(&Manifest::new().split("web", &weights))?;
    }
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    assert!(outcome.total() > 1_000, "{}", outcome.total());
    Ok(())
}

/// The configuration maps as bpftool prints them.
fn dumps(node: &Node) -> anyhow::Result<Vec<Vec<Value>>> {
    CONFIG_MAPS.iter().map(|name| in_use(&node.map(name))).collect()
}

/// Entries whose value is not all zeros.
fn in_use(pin: &Path) -> anyhow::Result<Vec<Value>> {
    let mut entries = bpftool::dump(pin)?;
    entries.retain(|entry| {
        let bytes = entry["value"].as_array().map_or(&[][..], Vec::as_slice);
        bytes.iter().any(|byte| byte != "0x00")
    });
    Ok(entries)
}

#[test]
fn restart_keeps_every_index_and_a_new_service_moves_none() -> anyhow::Result<()> {
    let mut bed = Testbed::start("ids")?;
    let _servers = serve_two(&bed)?;
    let before = dumps(&bed.node)?;
    assert!(before.iter().all(|map| !map.is_empty()));

    bed.node.replace()?;
    assert_eq!(before, dumps(&bed.node)?);

    let other = std::net::SocketAddrV4::new([10, 96, 0, 9].into(), 80);
    let manifest = Manifest::new().service("another", other, 8080).endpoint(
        "another",
        "another-1",
        "v1",
        backend(5),
    );
    bed.meshctl.apply(&manifest)?;
    for (old, new) in before.iter().zip(dumps(&bed.node)?) {
        assert!(new.len() > old.len());
        for entry in old {
            assert!(new.contains(entry), "moved: {entry}");
        }
    }
    Ok(())
}

/// The agent writes its last-good state at most once a second.
fn wait_for_copy_on_disk(bed: &Testbed) -> anyhow::Result<()> {
    let path = bed.node.scratch().join("state").join("last-good.redb");
    eventually(|| {
        let copy = std::fs::read(&path).unwrap_or_default();
        let holds = |name: &[u8]| copy.windows(name.len()).any(|bytes| bytes == name);
        if holds(b"default/web-v2") { Ok(()) } else { Err("nothing saved".to_owned()) }
    })
}

#[test]
fn traffic_goes_on_without_a_control_plane_and_an_agent_starts_from_last_good() -> anyhow::Result<()>
{
    let mut bed = Testbed::start("nocontrol")?;
    let _servers = serve_two(&bed)?;
    let traffic = load(&bed)?;
    traffic.wait_for(500, PATIENCE)?;
    wait_for_copy_on_disk(&bed)?;
    bed.control.kill()?;
    traffic.wait_for(1_000, PATIENCE)?;

    // The agent crashes too, and comes back to an empty world.
    bed.node.replace()?;
    traffic.wait_for(1_000, PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());

    // Even the maps are gone (as after a reboot): the disk still has the last-good state.
    bed.node.kill()?;
    assert_eq!(bed.node.uninstall()?.code, Some(0));
    bed.node.run()?;
    bed.node.wait_ready()?;
    let outcome = Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 1_000)?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    assert!(outcome.answered_by("v1") > 0 && outcome.answered_by("v2") > 0);

    // And when the control plane is back, changes flow again.
    bed.control.restart()?;
    eventually(|| match bed.node.status() {
        Ok(status) if status["connected"] == true => Ok(()),
        status => Err(format!("not connected: {status:?}")),
    })?;
    bed.apply_split(&[("v1", 0), ("v2", 1)])?;
    let outcome = Traffic::run(&bed.node.place(), Plan::to(VIP, Mode::Greet), 200)?;
    assert_eq!(outcome.answered_by("v2"), 200);
    Ok(())
}
