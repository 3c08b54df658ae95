//! Nothing is lost on the way from the kernel to the metrics, and nothing is counted twice: 100,000
//! connections with known bytes, while the agent is killed, and while it sleeps and the ring of events
//! runs over.

use std::num::NonZeroU32;
use std::time::Duration;

use mesh_tests::load::Mode;
use mesh_tests::testbed::{Testbed, VIP};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CONNECTIONS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// More events than the ring holds.
const BEYOND_THE_RING: u64 = 15_000;

#[test]
fn every_connection_and_every_byte_is_in_the_metrics_whatever_becomes_of_the_agent()
-> anyhow::Result<()> {
    let mut bed = Testbed::start_with("exact", &["--access-log"])?;
    let _servers = bed.serve(Mode::Request, &["v1", "v2"])?;
    bed.apply_split(&[("v1", 3), ("v2", 1)])?;
    let plan =
        Plan { concurrency: NonZeroU32::MIN.saturating_add(3), ..Plan::to(VIP, Mode::Request) };
    let traffic = Traffic::start(&bed.node.place(), plan)?;
    traffic.wait_for(20_000, PATIENCE)?;
    bed.node.kill()?;
    traffic.wait_for(2_000, PATIENCE)?;
    bed.node.run()?;
    bed.node.wait_ready()?;
    traffic.wait_for(10_000, PATIENCE)?;
    let agent = Pid::from_raw(bed.node.id()?.try_into()?);
    kill(agent, Signal::SIGSTOP)?;
    let overflowed = traffic.wait_for(BEYOND_THE_RING, PATIENCE);
    kill(agent, Signal::SIGCONT)?;
    overflowed?;
    let left = CONNECTIONS.saturating_sub(traffic.so_far());
    traffic.wait_for(left, 2 * PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0);
    assert!(outcome.total() >= CONNECTIONS);

    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        for version in ["v1", "v2"] {
            let labels = [("destination_service_name", "web"), ("destination_version", version)];
            let count = outcome.answered_by(version);
            metrics.expect("istio_tcp_connections_opened_total", &labels, count)?;
            metrics.expect("istio_tcp_connections_closed_total", &labels, count)?;
        }
        let web = [("destination_service_name", "web")];
        metrics.expect("istio_tcp_connections_failed_total", &web, 0)?;
        // Istio's names are the server's.
        metrics.expect("istio_tcp_received_bytes_total", &web, outcome.sent)?;
        metrics.expect("istio_tcp_sent_bytes_total", &web, outcome.received)
    })?;
    let lost = bed.node.metrics()?.sum("mesh_bpf_exits_total", &[("reason", "event_lost")]);
    assert!(lost > 0.0, "the ring never ran over");
    Ok(())
}
