//! The agent's checks of its own endpoints, with real servers: what they find follows the servers,
//! and they go to the endpoint itself where its address is a service's as well.

use std::net::SocketAddrV4;

use mesh_tests::backend::Backends;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::wait::eventually;

const CHECK: &str = "  healthCheck: {tcp: {}, interval: 50ms, timeout: 50ms, healthyThreshold: 2, \
                     unhealthyThreshold: 2}\n";

fn serve(bed: &Testbed) -> anyhow::Result<Backends> {
    let servers = [("v1", SocketAddrV4::new(backend(0), PORT))];
    Backends::start(&Place::in_netns(&bed.netns), Mode::Greet, &servers)
}

/// A checked service with one endpoint on the testbed's node.
fn web(node: &str) -> Manifest {
    Manifest::new()
        .service("web", VIP, PORT)
        .endpoint_with("web", "web-0", "v1", backend(0), &format!("  node: {node}\n"))
        .config("web", CHECK)
}

fn probes(bed: &Testbed, result: &str) -> f64 {
    let labels = [("result", result), ("protocol", "tcp")];
    bed.node.metrics().map_or(0.0, |metrics| metrics.sum("mesh_agent_probes_total", &labels))
}

fn wait_healthy(bed: &Testbed, expected: f64) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let labels = [("namespace", "default"), ("endpoint", "web-0")];
        let found = metrics
            .samples()
            .iter()
            .find(|sample| {
                sample.name == "mesh_agent_endpoint_healthy"
                    && labels
                        .iter()
                        .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
            })
            .map(|sample| sample.value);
        if found == Some(expected) { Ok(()) } else { Err(format!("{found:?}, not {expected}")) }
    })
}

#[test]
fn checks_follow_a_server_that_goes_and_comes_back() -> anyhow::Result<()> {
    let bed = Testbed::start("probes")?;
    let server = serve(&bed)?;
    bed.meshctl.apply(&web("probes"))?;
    wait_healthy(&bed, 1.0)?;
    drop(server);
    wait_healthy(&bed, 0.0)?;
    let _server = serve(&bed)?;
    wait_healthy(&bed, 1.0)
}

#[test]
fn checks_are_not_redirected() -> anyhow::Result<()> {
    let bed = Testbed::start("direct")?;
    let _server = serve(&bed)?;
    bed.meshctl.apply(&web("direct"))?;
    wait_healthy(&bed, 1.0)?;
    // Whoever connects to the endpoint's address now comes to where nobody listens.
    let front = Manifest::new()
        .service("front", SocketAddrV4::new(backend(0), PORT), PORT)
        .endpoint("front", "front-0", "v1", backend(1));
    bed.meshctl.apply(&front)?;
    let direct = || {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        Ok::<_, String>(metrics.sum("mesh_bpf_exits_total", &[("reason", "direct")]))
    };
    eventually(|| match direct()? {
        count if count >= 20.0 => Ok(()),
        count => Err(format!("{count} checks went their own way")),
    })?;
    let (good, bad) = (probes(&bed, "success"), probes(&bed, "connect"));
    eventually(|| {
        let more = probes(&bed, "success") - good;
        if more >= 20.0 { Ok(()) } else { Err(format!("{more} more good checks")) }
    })?;
    assert!(probes(&bed, "connect") <= bad, "checks go elsewhere");
    wait_healthy(&bed, 1.0)?;
    // An agent that starts on what it has kept knows it from the first check on.
    let Testbed { mut node, .. } = bed;
    node.stop()?;
    node.run()?;
    node.wait_ready()?;
    eventually(|| {
        let metrics = node.metrics().map_err(|error| error.to_string())?;
        let good = metrics.sum("mesh_agent_probes_total", &[("result", "success")]);
        let bad = metrics.sum("mesh_agent_probes_total", &[("result", "connect")]);
        assert!(bad < 1.0, "{bad} checks went elsewhere");
        if good >= 20.0 { Ok(()) } else { Err(format!("{good} good checks")) }
    })
}
