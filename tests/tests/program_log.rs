//! What the eBPF programs log: nothing, until the directives name them; then other programs take over
//! under load, without a gap.

use std::fs;
use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::time::Duration;

use mesh_tests::accel::End;
use mesh_tests::load::Mode;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of the agent's log that come from the programs.
fn lines(bed: &Testbed) -> anyhow::Result<Vec<String>> {
    let log = fs::read_to_string(bed.node.scratch().join("log"))?;
    Ok(log.lines().filter(|line| line.contains(" mesh_ebpf: ")).map(str::to_owned).collect())
}

/// Has the programs log from a level on, and waits until they do.
fn log(bed: &Testbed, node: &str, level: &str) -> anyhow::Result<()> {
    let said = || {
        let log = fs::read_to_string(bed.node.scratch().join("log"))?;
        Ok::<_, anyhow::Error>(log.lines().filter(|line| line.contains("the programs log")).count())
    };
    let before = said()?;
    let directives = format!("info,mesh_ebpf={level}");
    eventually(|| match bed.meshctl.ok(&["log", node, "--level", &directives]) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })?;
    eventually(|| match said() {
        Ok(now) if now > before => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

/// Waits for a line with all these parts.
fn wait_line(bed: &Testbed, parts: &[&str]) -> anyhow::Result<()> {
    eventually(|| match lines(bed) {
        Ok(lines) if lines.iter().any(|line| parts.iter().all(|part| line.contains(part))) => {
            Ok(())
        }
        other => Err(format!("no {parts:?} in {other:?}")),
    })
}

#[test]
fn programs_log_single_connections_once_their_target_is_named() -> anyhow::Result<()> {
    let bed = Testbed::start("programs")?;
    bed.apply_split(&[("v1", 1)])?;
    let exchange = || -> anyhow::Result<()> {
        let place = bed.node.place();
        let (mut server, mut client) = (End::start(&place)?, End::start(&place)?);
        server.listen(SocketAddrV4::new(backend(0), PORT))?;
        client.connect(VIP)?;
        server.accept()?;
        client.send("question")?;
        assert_eq!(server.receive(8)?, "question");
        client.close()?;
        Ok(())
    };
    exchange()?;
    assert_eq!(lines(&bed)?, Vec::<String>::new());

    log(&bed, "programs", "debug")?;
    exchange()?;
    wait_line(&bed, &["DEBUG", "opened: service="])?;
    wait_line(&bed, &["closed: service=", "sent=8 received=0"])?;
    // Nobody listens: what the application is told is in the line.
    End::start(&bed.node.place())?.connect(VIP).unwrap_err();
    wait_line(&bed, &["failed: service=", "errno=111"])?;
    assert!(!lines(&bed)?.iter().any(|line| line.contains("chosen:")), "that is trace");

    log(&bed, "programs", "trace")?;
    exchange()?;
    wait_line(&bed, &["TRACE", "chosen: service="])?;
    bed.apply_split(&[])?;
    End::start(&bed.node.place())?.connect(VIP).unwrap_err();
    wait_line(&bed, &["no backend: service=", "reason=no_backend_refused"])?;

    log(&bed, "programs", "off")?;
    let before = lines(&bed)?;
    bed.apply_split(&[("v1", 1)])?;
    exchange()?;
    assert_eq!(lines(&bed)?, before);
    Ok(())
}

#[test]
fn levels_change_under_load_without_a_failed_connection() -> anyhow::Result<()> {
    let bed = Testbed::start("loud")?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    bed.apply_split(&[("v1", 1)])?;
    let plan = Plan {
        concurrency: NonZeroU32::MIN.saturating_add(1),
        pause: Duration::from_micros(100),
        ..Plan::to(VIP, Mode::Greet)
    };
    let traffic = Traffic::start(&bed.node.place(), plan)?;
    for level in ["trace", "off", "debug", "off"] {
        traffic.wait_for(500, PATIENCE)?;
        log(&bed, "loud", level)?;
    }
    traffic.wait_for(500, PATIENCE)?;
    let outcome = traffic.stop()?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    let total = f64::from(u32::try_from(outcome.total())?);
    // A reading of the counters is shared for up to a second.
    eventually(|| match bed.node.metrics() {
        Ok(metrics) => {
            let opened = metrics.sum("istio_tcp_connections_opened_total", &[]);
            let all = (opened - total).abs() < 1.0;
            all.then_some(()).ok_or_else(|| format!("{opened} of {total}"))
        }
        Err(error) => Err(error.to_string()),
    })?;
    Ok(())
}
