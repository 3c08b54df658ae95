//! What the agent's metrics say is what was sent: to the connection and to the byte.

use std::collections::BTreeMap;

use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::testbed::{PORT, Testbed, VIP};
use mesh_tests::traffic::{Outcome, Plan, Traffic};
use mesh_tests::wait::eventually;

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const FAILED: &str = "istio_tcp_connections_failed_total";
/// By clients, as everywhere here; Istio speaks of the server.
const SENT: &str = "istio_tcp_received_bytes_total";
const RECEIVED: &str = "istio_tcp_sent_bytes_total";

/// Compares metrics with what they should be, until they are.
fn assert_metrics(
    bed: &Testbed,
    labels: &[(&str, &str)],
    expected: &[(&'static str, u64)],
) -> anyhow::Result<()> {
    let expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        expected.iter().try_for_each(|(name, value)| metrics.expect(name, labels, *value))
    })
}

fn run(bed: &Testbed, mode: Mode, count: u64) -> anyhow::Result<Outcome> {
    Traffic::run(&bed.node.place(), Plan::to(VIP, mode), count)
}

#[test]
fn opened_closed_and_bytes_match_the_traffic_in_both_ways_of_closing() -> anyhow::Result<()> {
    for mode in [Mode::Http, Mode::Request, Mode::Greet] {
        let bed = Testbed::start("counters")?;
        let _servers = bed.serve(mode, &["v1", "v2"])?;
        bed.apply_split(&[("v1", 3), ("v2", 1)])?;
        let outcome = run(&bed, mode, 2_000)?;
        assert_eq!(outcome.failed(), 0);
        for version in ["v1", "v2"] {
            let count = outcome.answered_by(version);
            let labels = [("destination_service_name", "web"), ("destination_version", version)];
            assert_metrics(&bed, &labels, &[(OPENED, count), (CLOSED, count), (FAILED, 0)])?;
        }
        let labels = [("destination_service_name", "web")];
        let bytes = [(SENT, outcome.sent), (RECEIVED, outcome.received)];
        assert_metrics(&bed, &labels, &bytes)?;
    }
    Ok(())
}

#[test]
fn failed_and_refused_connections_are_counted() -> anyhow::Result<()> {
    let bed = Testbed::start("failed")?;
    // One backend answers, nobody listens at the other.
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    let outcome = run(&bed, Mode::Greet, 1_000)?;
    let failed = outcome.failed();
    assert_eq!(outcome.failures().get("111"), Some(&failed));
    assert!(failed > 300, "{failed}");
    let dead = [("destination_version", "v2")];
    assert_metrics(&bed, &dead, &[(FAILED, failed), (OPENED, 0), (CLOSED, 0)])?;
    let live = [("destination_version", "v1")];
    assert_metrics(&bed, &live, &[(FAILED, 0), (OPENED, 1_000 - failed)])?;

    let empty = std::net::SocketAddrV4::new([10, 96, 0, 77].into(), 80);
    bed.meshctl.apply(&Manifest::new().service("empty", empty, PORT))?;
    let plan = Plan::to(empty, Mode::Greet);
    assert_eq!(Traffic::run(&bed.node.place(), plan, 50)?.failed(), 50);
    assert_metrics(
        &bed,
        &[("destination_service", "empty.default"), ("outcome", "refused")],
        &[("mesh_tcp_connects_without_backend_total", 50)],
    )
}

#[test]
fn connections_of_removed_backends_and_of_an_earlier_agent_are_not_lost() -> anyhow::Result<()> {
    let mut bed = Testbed::start("kept")?;
    let _servers = bed.serve(Mode::Greet, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    let first = run(&bed, Mode::Greet, 500)?;
    bed.meshctl.ok(&["delete", "endpoint", "web-v2"])?;
    let both: u64 = first.answered_by("v1") + first.answered_by("v2");
    assert_eq!(both, 500);
    let web = [("destination_service_name", "web")];
    assert_metrics(&bed, &web, &[(OPENED, 500), (CLOSED, 500)])?;

    // Counters live in the pinned maps: those of backends that are still there survive.
    let gone = [("destination_version", "v2")];
    assert_metrics(&bed, &gone, &[(OPENED, first.answered_by("v2"))])?;
    bed.node.kill()?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    let kept = [("destination_version", "v1")];
    assert_metrics(&bed, &kept, &[(OPENED, first.answered_by("v1"))])
}
