//! One policy, three ways to follow it: the same YAML splits, fails over, drains and keeps to what is
//! near alike through the kernel, through the real Envoy and in the real gRPC.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context as _, ensure};
use mesh_tests::control;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::ui;
use mesh_tests::wait::eventually;
use mesh_tests::xds::{Answers, Calls, Client, Envoy, Server};
use serde_json::Value;

/// Calls of each sample.
const SAMPLE: u32 = 2000;
/// Of which version 1 is to get so many in a hundred.
const SHARE: u32 = 80;

/// A way to the service.
struct Way {
    name: &'static str,
    client: Client,
    /// The kernel chooses for each connection, the others for each request.
    fresh: bool,
}

impl Way {
    fn call(&mut self, number: u32) -> anyhow::Result<Answers> {
        let calls = Calls { fresh: self.fresh, ..Calls::who(number) };
        self.client.call(&calls).with_context(|| self.name)
    }
}

fn manifest(first: &str, second: &str, config: &str) -> Manifest {
    let endpoint = |name: &str, n: u8, spec: &str| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: web-{name}}}\n\
             spec: {{service: web, version: {name}, address: {}, {spec}}}\n",
            backend(n)
        )
    };
    let (v1, v2) = (endpoint("v1", 0, first), endpoint("v2", 1, second));
    Manifest::from_text(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         vips: [{}]\n  ports: [{{name: grpc, port: {}, targetPort: {PORT}, appProtocol: grpc}}]\n\
         {v1}{v2}---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: web}}\n\
         spec:\n{config}  timeouts: {{request: 5s}}\n  \
         healthCheck: {{tcp: {{}}, interval: 200ms, timeout: 100ms, unhealthyThreshold: 2}}\n",
        VIP.ip(),
        VIP.port(),
    ))
}

/// A share for each version.
fn service(first: &str, second: &str) -> Manifest {
    let config = format!(
        "  trafficRules:\n  - {{destination: {{version: v1}}, weight: {SHARE}}}\n  \
         - {{destination: {{version: v2}}, weight: {}}}\n",
        100 - SHARE
    );
    manifest(&format!("state: {first}"), &format!("state: {second}"), &config)
}

fn start(bed: &Testbed, version: &str, n: u8) -> anyhow::Result<Server> {
    let at = SocketAddr::from(SocketAddrV4::new(backend(n), PORT));
    Server::start(&Place::in_netns(&bed.netns), version, at)
}

/// Where Envoy listens for the service, as the control plane allotted it.
fn listener(bed: &Testbed) -> anyhow::Result<u16> {
    let said = bed.meshctl.ok(&["get", "serviceconfig", "web", "-o", "json"])?;
    let config: Value = serde_json::from_str(&said.stdout)?;
    let port = config.pointer("/spec/proxyPorts/grpc").and_then(Value::as_u64);
    Ok(u16::try_from(port.context("no port of the proxy")?)?)
}

/// Whether a sample fits the share: within three standard deviations, which one of 370 fair samples
/// is not, so a second one decides.
fn splits(way: &mut Way) -> anyhow::Result<()> {
    let (sample, share) = (f64::from(SAMPLE), f64::from(SHARE) / 100.0);
    let deviation = (sample * share * (1.0 - share)).sqrt();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let answers = way.call(SAMPLE)?;
        ensure!(answers.failed.is_empty(), "{}: {answers:?}", way.name);
        let first = u32::try_from(answers.of("v1"))?;
        ui::say(format!("{}: {first} of {SAMPLE} to v1", way.name));
        seen.push(first);
        if (f64::from(first) - sample * share).abs() <= 3.0 * deviation {
            return Ok(());
        }
    }
    anyhow::bail!("{}: {seen:?} of {SAMPLE} went to v1, not {SHARE} %", way.name)
}

/// Waits until calls have one answer only; `failed` says whether any may fail until then.
fn becomes(way: &mut Way, version: &str, may_fail: bool) -> anyhow::Result<()> {
    let Way { name, fresh, client } = way;
    eventually(|| {
        let calls = Calls { fresh: *fresh, ..Calls::who(50) };
        let answers = client.call(&calls).map_err(|error| error.to_string())?;
        // Waiting must not hide it.
        assert!(may_fail || answers.failed.is_empty(), "{name}: {answers:?}");
        let all = answers.of(version) == 50;
        if all { Ok(()) } else { Err(format!("{name}: {answers:?}")) }
    })
}

/// The three, on one node.
fn ways(bed: &Testbed, node: &str) -> anyhow::Result<(Envoy, [Way; 3])> {
    let outside = Place::in_netns(&bed.netns);
    let envoy = Envoy::start(&bed.netns, &outside, node)?;
    let control = Some(control::API.into());
    let through_envoy = format!("127.0.0.1:{}", listener(bed)?);
    let kernel = Client::start(&bed.node.place(), &VIP.to_string(), None)?;
    let through_envoy = Client::start(&outside, &through_envoy, None)?;
    let grpc = Client::start_on(&outside, "xds:///web.default", control, Some(node))?;
    let ways = [
        Way { name: "kernel", client: kernel, fresh: true },
        Way { name: "Envoy", client: through_envoy, fresh: false },
        Way { name: "gRPC", client: grpc, fresh: false },
    ];
    Ok((envoy, ways))
}

#[test]
fn kernel_envoy_and_grpc_follow_one_policy_alike() -> anyhow::Result<()> {
    let bed = Testbed::start("trio")?;
    let first = start(&bed, "v1", 0)?;
    let _second = start(&bed, "v2", 1)?;
    bed.meshctl.apply(&service("Serving", "Serving"))?;
    let (_envoy, mut ways) = ways(&bed, "trio")?;

    for way in &mut ways {
        splits(way)?;
    }

    // Fail-over: nobody says that the first is gone but the checks.
    first.kill()?;
    for way in &mut ways {
        becomes(way, "v2", true)?;
    }
    let _first = start(&bed, "v1", 0)?;
    for way in &mut ways {
        let Way { name, client, fresh } = way;
        eventually(|| {
            let calls = Calls { fresh: *fresh, ..Calls::who(50) };
            let answers = client.call(&calls).map_err(|error| error.to_string())?;
            let back = answers.of("v1") > 0 && answers.failed.is_empty();
            if back { Ok(()) } else { Err(format!("{name}: {answers:?}")) }
        })?;
    }

    // Drain: no call fails, and soon none goes there.
    bed.meshctl.apply(&service("Draining", "Serving"))?;
    for way in &mut ways {
        becomes(way, "v2", false)?;
    }
    Ok(())
}

const NEAR: &str = "near";

/// One endpoint on the node, and one elsewhere.
fn local(mode: &str, first: &str) -> Manifest {
    let config = format!("  loadBalancer: {{locality: {{mode: {mode}}}}}\n");
    manifest(&format!("node: {NEAR}, state: {first}"), "node: far", &config)
}

#[test]
fn all_three_keep_to_what_is_near() -> anyhow::Result<()> {
    let bed = Testbed::start(NEAR)?;
    let first = start(&bed, "v1", 0)?;
    let _second = start(&bed, "v2", 1)?;
    bed.meshctl.apply(&local("PreferLocal", "Serving"))?;
    let (_envoy, mut ways) = ways(&bed, NEAR)?;
    for way in &mut ways {
        becomes(way, "v1", false)?;
    }
    // The next level, as long as the node has none that works; and back.
    first.kill()?;
    for way in &mut ways {
        becomes(way, "v2", true)?;
    }
    let first = start(&bed, "v1", 0)?;
    for way in &mut ways {
        becomes(way, "v1", false)?;
    }
    bed.meshctl.apply(&local("PreferLocal", "Draining"))?;
    for way in &mut ways {
        becomes(way, "v2", false)?;
    }

    // Only what is near, or nothing.
    bed.meshctl.apply(&local("Strict", "Serving"))?;
    for way in &mut ways {
        becomes(way, "v1", true)?;
    }
    first.kill()?;
    for Way { name, client, fresh } in &mut ways {
        eventually(|| {
            let calls = Calls { fresh: *fresh, ..Calls::who(20) };
            let answers = client.call(&calls).map_err(|error| error.to_string())?;
            // Waiting must not hide it.
            assert!(answers.of("v2") == 0, "{name}: {answers:?}");
            let none = answers.failed.values().sum::<u64>() == 20;
            if none { Ok(()) } else { Err(format!("{name}: {answers:?}")) }
        })?;
    }
    Ok(())
}
