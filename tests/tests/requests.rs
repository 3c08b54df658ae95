//! Retries and timeouts of requests, with a server that fails on purpose: how often it is tried and
//! how long that takes, through Envoy and in gRPC.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mesh_tests::control;
use mesh_tests::manifest::Manifest;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::wait::eventually;
use mesh_tests::xds::{Answers, Calls, Client, Envoy, Server};
use serde_json::Value;

const MS: Duration = Duration::from_millis(1);

fn manifest(rule: &str) -> Manifest {
    Manifest::from_text(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         vips: [{}]\n  ports: [{{name: grpc, port: 80, targetPort: {PORT}, appProtocol: grpc}}]\n\
         ---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: web-1}}\n\
         spec: {{service: web, version: v1, address: {}}}\n\
         ---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: web}}\n\
         spec:\n  trafficRules:\n  - {{destination: {{version: v1}}, weight: 1, {rule}}}\n",
        VIP.ip(),
        backend(0),
    ))
}

/// One call, with what the server is to do.
fn call(
    client: &mut Client,
    method: &'static str,
    id: &str,
    headers: &[(&'static str, &str)],
) -> anyhow::Result<Answers> {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let headers = headers.chain([("x-id", id.to_owned())]).collect();
    client.call(&Calls { method, headers, ..Calls::who(1) })
}

/// How often the server has seen an id.
fn tried(direct: &mut Client, id: &str) -> anyhow::Result<u32> {
    let answers = call(direct, "Tried", id, &[])?;
    let (tried, _) = answers.texts.first_key_value().context("no answer")?;
    Ok(tried.parse()?)
}

struct World {
    bed: Testbed,
    _server: Server,
    _envoy: Envoy,
    direct: Client,
    clients: [(&'static str, Client); 2],
}

impl World {
    fn start(what: &str, rule: &str) -> anyhow::Result<Self> {
        let bed = Testbed::start(what)?;
        let outside = Place::in_netns(&bed.netns);
        let at = SocketAddr::from(SocketAddrV4::new(backend(0), PORT));
        let server = Server::start(&outside, "v1", at)?;
        bed.meshctl.apply(&manifest(rule))?;
        let envoy = Envoy::start(&bed.netns, &outside, what)?;
        let said = bed.meshctl.ok(&["get", "serviceconfig", "web", "-o", "json"])?;
        let config: Value = serde_json::from_str(&said.stdout)?;
        let port = config.pointer("/spec/proxyPorts/grpc").context("no port of the proxy")?;
        let through = Client::start(&outside, &format!("127.0.0.1:{port}"), None)?;
        let control = Some(control::API.into());
        let grpc = Client::start(&outside, "xds:///web.default", control)?;
        let direct = Client::start(&outside, &at.to_string(), None)?;
        let mut clients = [("Envoy", through), ("gRPC", grpc)];
        for (name, client) in &mut clients {
            eventually(|| match client.call(&Calls::who(1)) {
                Ok(answers) if answers.of("v1") == 1 => Ok(()),
                other => Err(format!("{name}: {other:?}")),
            })?;
        }
        Ok(Self { bed, _server: server, _envoy: envoy, direct, clients })
    }
}

#[test]
fn a_request_is_sent_again_as_often_as_the_rule_says() -> anyhow::Result<()> {
    let mut world = World::start("retries", "retries: {attempts: 3}")?;
    for (name, client) in &mut world.clients {
        let id = format!("{name}-heals");
        let answers = call(client, "Flaky", &id, &[("x-fail", "2")])?;
        ensure!(answers.of("3") == 1, "{name}: {answers:?}");
        let id = format!("{name}-does-not");
        let answers = call(client, "Flaky", &id, &[("x-fail", "9")])?;
        ensure!(answers.failed.get("UNAVAILABLE") == Some(&1), "{name}: {answers:?}");
        let tried = tried(&mut world.direct, &id)?;
        ensure!(tried == 4, "{name}: tried {tried} times, not once and 3 times more");
    }
    Ok(())
}

#[test]
fn a_request_without_an_answer_ends_when_the_rule_says() -> anyhow::Result<()> {
    let mut world = World::start("timeouts", "timeout: 300ms")?;
    for (name, client) in &mut world.clients {
        let id = format!("{name}-late");
        let answers = call(client, "Slow", &id, &[("x-sleep", "3")])?;
        ensure!(answers.texts.is_empty(), "{name}: {answers:?}");
        let took = *answers.took.first().context("no time")?;
        // Whoever waited for the answer, or for nothing, is far away from it. C-core's time is up to
        // a second longer: docs/requests.md says why.
        ensure!(took >= 290 * MS && took < 2000 * MS, "{name}: {took:?} instead of 300 ms");
        ensure!(tried(&mut world.direct, &id)? == 1, "{name}: sent again");
        let answers = call(client, "Slow", &id, &[("x-sleep", "0.05")])?;
        ensure!(answers.of("v1") == 1, "{name}: {answers:?}");
    }
    // What is taken away is gone.
    world.bed.meshctl.apply(&manifest("timeout: 10s"))?;
    for (name, client) in &mut world.clients {
        let id = format!("{name}-patient");
        eventually(|| match call(client, "Slow", &id, &[("x-sleep", "0.6")]) {
            Ok(answers) if answers.of("v1") == 1 => Ok(()),
            other => Err(format!("{name}: {other:?}")),
        })?;
    }
    Ok(())
}

#[test]
fn each_try_has_its_own_time() -> anyhow::Result<()> {
    let rule =
        "timeout: 5s, retries: {attempts: 2, perTryTimeout: 200ms, retryOn: [gateway-error]}";
    let mut world = World::start("pertry", rule)?;
    // gRPC knows no time of a single try; `meshctl apply` says so.
    let [(name, client), _] = &mut world.clients;
    let answers = call(client, "Slow", "tries", &[("x-sleep", "3")])?;
    let took = *answers.took.first().context("no time")?;
    ensure!(took >= 590 * MS && took < 2500 * MS, "{name}: {took:?} instead of 600 ms and pauses");
    let tried = tried(&mut world.direct, "tries")?;
    ensure!(tried == 3, "{name}: tried {tried} times");
    Ok(())
}
