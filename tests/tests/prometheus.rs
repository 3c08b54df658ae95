//! A real Prometheus server scrapes a control plane and two agents, and answers what the dashboard
//! and people ask.

use std::net::{Ipv4Addr, SocketAddrV4};

use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::metrics::catalogue::{Who, documented, exposed};
use mesh_tests::node::{self, Node};
use mesh_tests::prometheus::{Prometheus, lint, text_format};
use mesh_tests::stats::float;
use mesh_tests::testbed::{PORT, SMALL, Testbed, VIP, backend};
use mesh_tests::traffic::{Plan, Traffic};
use mesh_tests::wait::eventually;
use mesh_tests::{control, grafana, http};

/// Of the second agent.
const OTHER_HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15120);
const OTHER_VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80);

/// A control plane, two agents, two services, and Prometheus. Fields drop in order.
struct Mesh {
    prometheus: Prometheus,
    second: Node,
    bed: Testbed,
}

fn mesh(what: &str) -> anyhow::Result<Mesh> {
    let bed = Testbed::start(what)?;
    let mut second = Node::prepare(&bed.netns, &format!("{what}-2"), &SMALL)?;
    second.set_http(OTHER_HTTP);
    second.run()?;
    second.wait_ready()?;
    let manifest = Manifest::new()
        .service("web", VIP, PORT)
        .endpoint("web", "web-1", "v1", backend(0))
        .endpoint("web", "web-2", "v2", backend(1))
        .service("other", OTHER_VIP, PORT)
        .endpoint("other", "other-1", "v1", backend(2));
    bed.meshctl.apply(&manifest)?;
    let (control, agents) = ([control::HTTP], [node::HTTP, OTHER_HTTP]);
    let jobs: [(&str, &[SocketAddrV4]); 2] = [("mesh-control", &control), ("mesh-agent", &agents)];
    let prometheus = Prometheus::start(&bed.netns, &jobs)?;
    Ok(Mesh { prometheus, second, bed })
}

impl Mesh {
    /// Waits for an answer with this one value.
    fn answers(&self, expression: &str, expected: u64) -> anyhow::Result<()> {
        eventually(|| match self.prometheus.value(expression) {
            Ok(Some(value)) if (value - float(expected)).abs() < 1e-6 => Ok(()),
            other => Err(format!("{expression}: {other:?} instead of {expected}")),
        })
    }
}

const OPENED: &str = "istio_tcp_connections_opened_total";

#[test]
fn prometheus_reads_everything_and_answers_what_was_done() -> anyhow::Result<()> {
    let mesh = mesh("prometheus")?;
    let _servers = mesh.bed.serve(Mode::Request, &["v1", "v2", "v1"])?;
    mesh.answers("sum(up)", 3)?;
    // Every series is there at 0 before anything is counted.
    mesh.answers(&format!("count({OPENED}{{instance=\"{OTHER_HTTP}\"}})"), 3)?;
    mesh.answers(&format!("count({OPENED}{{instance=\"{}\"}})", node::HTTP), 3)?;

    let (first, second) = (mesh.bed.node.place(), mesh.second.place());
    let to = |vip| Plan::to(vip, Mode::Request);
    let (mut sent, mut received) = (0, 0);
    let mut make = |counts: [u64; 3]| -> anyhow::Result<()> {
        let ways = [(&first, VIP), (&second, VIP), (&second, OTHER_VIP)];
        for ((place, vip), count) in ways.into_iter().zip(counts) {
            let outcome = Traffic::run(place, to(vip), count)?;
            assert_eq!((outcome.total(), outcome.failed()), (count, 0));
            sent += outcome.sent;
            received += outcome.received;
        }
        Ok(())
    };
    // A client's series begins with its first connections, which no rate contains.
    make([20, 20, 20])?;
    mesh.answers(&format!("sum({OPENED})"), 60)?;
    make([300, 200, 70])?;
    for (service, before, count) in [("web", 40, 500), ("other", 20, 70)] {
        let labels = format!("{{destination_service_name=\"{service}\"}}");
        mesh.answers(&format!("sum({OPENED}{labels})"), before + count)?;
        // What a dashboard asks. Prometheus takes it that a counter went on at both edges, by up to
        // half of what it does between two samples, of which there are some by now.
        let rate = format!("sum by (destination_service_name) (rate({OPENED}{labels}[10m])) * 600");
        eventually(|| match mesh.prometheus.value(&rate) {
            Ok(Some(value))
                if (0.999 * float(count)..1.25 * float(before + count)).contains(&value) =>
            {
                Ok(())
            }
            other => Err(format!("{rate}: {other:?} instead of {count}")),
        })?;
    }
    mesh.answers(&format!("sum({OPENED}{{instance=\"{OTHER_HTTP}\"}})"), 310)?;
    // Istio's names are the server's.
    mesh.answers("sum(istio_tcp_received_bytes_total)", sent)?;
    mesh.answers("sum(istio_tcp_sent_bytes_total)", received)?;
    mesh.answers("sum(mesh_agent_connected)", 2)?;
    mesh.answers("mesh_xds_connected", 2)?;
    mesh.answers("mesh_control_revision - on() min(mesh_agent_live_revision)", 0)?;

    for expression in grafana::expressions()? {
        mesh.prometheus.query(&grafana::as_sent(&expression))?;
    }
    let connections = grafana::as_sent(&grafana::expressions()?[0]);
    assert_eq!(mesh.prometheus.query(&connections)?.len(), 2, "{connections}");

    mesh.prometheus.check_targets()?;
    assert_eq!(mesh.prometheus.complaints()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn promtool_and_the_documentation_agree_with_what_is_exposed() -> anyhow::Result<()> {
    let bed = Testbed::start("promtool")?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    for (who, address) in [(Who::Agent, node::HTTP), (Who::ControlPlane, control::HTTP)] {
        let text = http::get_ok(&bed.netns, address, "/metrics")?;
        assert_eq!(lint(bed.node.scratch(), &text_format(&text))?, "");
        let documented = documented(who)?;
        let exposed = exposed(&text);
        for (name, metric) in &exposed {
            assert_eq!(Some(metric), documented.get(name), "{name}");
        }
        // Only what tells of things that are not there is absent.
        let things = ["service", "destination_service_name", "endpoint", "hook", "cause"];
        for (name, metric) in documented.iter().filter(|(name, _)| !exposed.contains_key(*name)) {
            assert!(things.iter().any(|label| metric.labels.contains(*label)), "no {name}");
        }
    }
    // It does find something.
    let wrong = lint(bed.node.scratch(), "# TYPE a counter\na 1\n")?;
    assert!(wrong.contains("no help text") && wrong.contains("_total"), "{wrong}");
    Ok(())
}
