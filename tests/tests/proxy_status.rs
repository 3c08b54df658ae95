//! What is known of the real Envoy and the real gRPC: which of them has what, who refuses what, and
//! that a client that comes back is sent what has changed and nothing else; and what they report of
//! their requests. Without a kernel's part.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mesh_tests::control::{API, ControlPlane, HTTP};
use mesh_tests::http;
use mesh_tests::manifest::Manifest;
use mesh_tests::meshctl::Meshctl;
use mesh_tests::metrics::Metrics;
use mesh_tests::netns::NetNs;
use mesh_tests::process::Place;
use mesh_tests::testbed::{self, PORT, backend};
use mesh_tests::wait::eventually;
use mesh_tests::xds::{Calls, Client, Envoy, Server};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const TYPES: [(&str, &str); 4] = [
    ("CDS", "envoy.config.cluster.v3.Cluster"),
    ("EDS", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("LDS", "envoy.config.listener.v3.Listener"),
    ("RDS", "envoy.config.route.v3.RouteConfiguration"),
];

/// Resources by type.
type Counts = BTreeMap<&'static str, u64>;

struct World {
    meshctl: Meshctl,
    control: ControlPlane,
    netns: Arc<NetNs>,
}

impl World {
    fn start() -> anyhow::Result<Self> {
        let netns = testbed::namespace("status")?;
        // Reports are looked at after one or two.
        let control = ControlPlane::start_with(&netns, &["--load-report-interval", "1s"])?;
        Ok(Self { meshctl: Meshctl::new(&netns)?, control, netns })
    }

    fn place(&self) -> Place {
        Place::in_netns(&self.netns)
    }

    fn apply(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let file = self.meshctl.file(manifest)?;
        // Nobody is there to wait for.
        self.meshctl.ok(&["apply", "-f", &file]).map(drop)
    }

    /// The connected client of a kind.
    fn row(&self, kind: &str) -> anyhow::Result<Value> {
        let said = self.meshctl.ok(&["proxy-status", "-o", "json"])?;
        let rows: Value = serde_json::from_str(&said.stdout)?;
        let is = |row: &&Value| row["kind"] == kind && row["connected"] == true;
        let found = rows.as_array().and_then(|rows| rows.iter().find(is)).cloned();
        found.with_context(|| format!("no {kind}: {rows}"))
    }

    /// Waits until the clients of both kinds have everything of all four types.
    fn synced(&self) -> anyhow::Result<()> {
        eventually(|| {
            for kind in ["envoy", "grpc"] {
                let row = self.row(kind).map_err(|error| error.to_string())?;
                let types = row["types"].as_array().map_or(&[][..], Vec::as_slice);
                let synced = types.iter().filter(|it| it["state"] == "SYNCED").count();
                if synced != TYPES.len() || row["state"] != "SYNCED" {
                    return Err(format!("{row}"));
                }
            }
            Ok(())
        })
    }

    /// What the client of a kind has.
    fn has(&self, kind: &str) -> anyhow::Result<Counts> {
        let row = self.row(kind)?;
        let types = row["types"].as_array().context("no types")?;
        let of = |name: &str| types.iter().find(|it| it["type"] == name)?["resources"].as_u64();
        TYPES.iter().map(|(name, _)| Ok((*name, of(name).context("no number")?))).collect()
    }

    /// What this process of the control plane has sent to clients of a kind.
    fn sent(&self, kind: &str) -> anyhow::Result<Counts> {
        let scrape = Metrics::parse(&http::get_ok(&self.netns, HTTP, "/metrics")?);
        let of = |full| {
            let labels = [("kind", kind), ("type", full)];
            let found = scrape.samples().iter().find(|sample| {
                sample.name == "mesh_xds_resources_sent_total"
                    && labels.iter().all(|(key, value)| sample.labels[*key] == *value)
            });
            found.with_context(|| format!("{labels:?} is not counted"))
        };
        let count = |(name, full): (&'static str, _)| {
            let text = of(full)?.value.to_string();
            Ok((name, text.parse::<u64>()?))
        };
        TYPES.into_iter().map(count).collect()
    }
}

/// A service with rules for requests and two servers.
fn service(name: &str, vip: u8, second: u8) -> String {
    let endpoint = |part: &str, n: u8| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\n\
             metadata: {{name: {name}-{part}}}\n\
             spec: {{service: {name}, version: v1, address: {}}}\n",
            backend(n)
        )
    };
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         vips: [10.96.0.{vip}]\n  \
         ports: [{{name: grpc, port: 80, targetPort: {PORT}, appProtocol: grpc}}]\n{}{}---\n\
         apiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: {name}}}\n\
         spec:\n  timeouts: {{request: 5s}}\n  \
         trafficRules:\n  - {{destination: {{version: v1}}, weight: 100}}\n",
        endpoint("a", 0),
        endpoint("b", second),
    )
}

fn signal(ids: &[u32], signal: Signal) -> anyhow::Result<()> {
    for id in ids {
        kill(Pid::from_raw(id.cast_signed()), signal)?;
    }
    Ok(())
}

fn works(client: &mut Client) -> anyhow::Result<()> {
    let answers = client.call(&Calls::who(5))?;
    ensure!(answers.of("v1") == 5, "{answers:?}");
    Ok(())
}

/// Where Envoy is to listen for a service.
fn listener(meshctl: &Meshctl, name: &str) -> anyhow::Result<SocketAddrV4> {
    let said = meshctl.ok(&["get", "serviceconfig", name, "-o", "json"])?;
    let config: Value = serde_json::from_str(&said.stdout)?;
    let port = config.pointer("/spec/proxyPorts/grpc").and_then(Value::as_u64);
    let port = u16::try_from(port.context("no port of the proxy")?)?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[test]
fn clients_are_shown_and_resent_nothing_that_they_have() -> anyhow::Result<()> {
    let mut world = World::start()?;
    let start = |n| {
        let at = SocketAddr::from(SocketAddrV4::new(backend(n), PORT));
        Server::start(&world.place(), "v1", at)
    };
    let _servers = [start(0)?, start(1)?, start(2)?];
    world.apply(&Manifest::from_text(&service("web", 10, 1)))?;
    let envoy = Envoy::start(&world.netns, &world.place(), "status")?;
    let mut grpc = Client::start(&world.place(), "xds:///web.default", Some(API.into()))?;
    works(&mut grpc)?;
    world.synced()?;
    let envoy_row = world.row("envoy")?;
    ensure!(envoy_row["id"] == "envoy~status" && envoy_row["refused"] == serde_json::json!([]));

    let mut through_envoy = {
        let to = listener(&world.meshctl, "web")?.to_string();
        Client::start(&world.place(), &to, None)?
    };
    works(&mut through_envoy)?;

    // The line breaks, nothing has changed: nothing is sent.
    let stopped = [envoy.id(), grpc.id()];
    world.control.kill()?;
    world.control.restart()?;
    world.synced()?;
    for kind in ["envoy", "grpc"] {
        let sent = world.sent(kind)?;
        ensure!(sent.values().all(|count| *count == 0), "{kind} was sent {sent:?}");
    }

    // The same, and one endpoint has moved meanwhile: its set is sent.
    signal(&stopped, Signal::SIGSTOP)?;
    world.control.kill()?;
    world.control.restart()?;
    world.apply(&Manifest::from_text(&service("web", 10, 2)))?;
    signal(&stopped, Signal::SIGCONT)?;
    world.synced()?;
    for kind in ["envoy", "grpc"] {
        let sent = world.sent(kind)?;
        ensure!(sent == Counts::from([("CDS", 0), ("EDS", 1), ("LDS", 0), ("RDS", 0)]), "{sent:?}");
    }
    works(&mut through_envoy)?;
    works(&mut grpc)?;

    // A port that is taken: Envoy refuses the listener and goes on with the other.
    signal(&[envoy.id()], Signal::SIGSTOP)?;
    let other = service("other", 11, 2);
    world.apply(&Manifest::from_text(&other))?;
    let taken = listener(&world.meshctl, "other")?;
    let taken = world.netns.run(|| TcpListener::bind(taken))??;
    signal(&[envoy.id()], Signal::SIGCONT)?;
    eventually(|| {
        let row = world.row("envoy").map_err(|error| error.to_string())?;
        if row["state"] == "REJECTED" { Ok(()) } else { Err(format!("{row}")) }
    })?;
    let row = world.row("envoy")?;
    let refused = &row["refused"][0];
    ensure!(refused["type"] == "LDS" && refused["message"].to_string().contains("bind"), "{row}");
    ensure!(refused["name"].to_string().contains("other"), "{row}");
    let detail = world.meshctl.ok(&["proxy-status", "envoy~status"])?.stdout;
    ensure!(detail.contains("REJECTED") && detail.contains("bind"), "{detail}");
    let status = world.meshctl.ok(&["status"])?.stdout;
    ensure!(status.contains("envoy envoy~status rejects revision"), "{status}");
    works(&mut through_envoy)?;
    ensure!(world.meshctl.run(&["proxy-status", "nobody"])?.code == Some(4));
    // The next form of it finds the port free.
    drop(taken);
    world.apply(&Manifest::from_text(&other.replace("appProtocol: grpc", "appProtocol: http")))?;
    world.synced()?;

    // New processes have nothing: they are sent everything once.
    let before = (world.sent("envoy")?, world.sent("grpc")?);
    envoy.kill()?;
    grpc.kill()?;
    let _envoy = Envoy::start(&world.netns, &world.place(), "status")?;
    let mut grpc = Client::start(&world.place(), "xds:///web.default", Some(API.into()))?;
    works(&mut grpc)?;
    world.synced()?;
    for (kind, before) in [("envoy", before.0), ("grpc", before.1)] {
        let (sent, has) = (world.sent(kind)?, world.has(kind)?);
        for (name, _) in TYPES {
            ensure!(
                has[name] > 0 && sent[name] - before[name] == has[name],
                "{kind} {name}: {sent:?} {has:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn clients_report_their_requests() -> anyhow::Result<()> {
    let world = World::start()?;
    let at = SocketAddr::from(SocketAddrV4::new(backend(0), PORT));
    let _server = Server::start(&world.place(), "v1", at)?;
    world.apply(&Manifest::from_text(&service("web", 10, 0)))?;
    let _envoy = Envoy::start(&world.netns, &world.place(), "loads")?;
    let to = listener(&world.meshctl, "web")?.to_string();
    let mut through_envoy = Client::start(&world.place(), &to, None)?;
    let mut grpc = Client::start(&world.place(), "xds:///web.default", Some(API.into()))?;
    let reported = |kind, result| -> anyhow::Result<f64> {
        let scrape = Metrics::parse(&http::get_ok(&world.netns, HTTP, "/metrics")?);
        let labels = [("kind", kind), ("result", result), ("destination_service_name", "web")];
        Ok(scrape.sum("mesh_xds_upstream_requests_total", &labels))
    };
    for (kind, client) in [("envoy", &mut through_envoy), ("grpc", &mut grpc)] {
        // Envoy does not count what comes before its next report has begun.
        eventually(|| {
            works(client).map_err(|error| error.to_string())?;
            let sum = reported(kind, "success").map_err(|error| error.to_string())?;
            if sum > 0.0 { Ok(()) } else { Err(format!("{kind} reports nothing")) }
        })?;
        // The server has no such method.
        let calls = Calls { method: "Nothing", ..Calls::who(3) };
        ensure!(client.call(&calls)?.failed.values().sum::<u64>() == 3);
    }
    for kind in ["envoy", "grpc"] {
        eventually(|| {
            let sum = reported(kind, "error").map_err(|error| error.to_string())?;
            if (sum - 3.0).abs() < 0.5 { Ok(()) } else { Err(format!("{kind}: {sum} errors")) }
        })?;
    }
    Ok(())
}
