//! What of a policy gRPC clients follow that need no proxy, with the real one: affinity of a channel,
//! and most requests at a time. How they share out, fail over and drain is in `trio`, retries in
//! `requests`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context as _, ensure};
use mesh_tests::control::{API, ControlPlane};
use mesh_tests::manifest::Manifest;
use mesh_tests::meshctl::Meshctl;
use mesh_tests::process::Place;
use mesh_tests::testbed::{self, PORT, VIP, backend};
use mesh_tests::wait::eventually;
use mesh_tests::xds::{Calls, Client, Server};

const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

fn manifest(service: &str, config: &str) -> Manifest {
    let mut endpoints = String::new();
    for (n, version) in (0..).zip(VERSIONS) {
        // Writing to a string cannot fail.
        write!(
            endpoints,
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: web-{version}}}\n\
             spec: {{service: web, version: {version}, address: {}}}\n",
            backend(n)
        )
        .ok();
    }
    Manifest::from_text(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         vips: [{}]\n  ports: [{{name: grpc, port: 80, targetPort: {PORT}, appProtocol: grpc}}]\n\
         {service}{endpoints}---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\n\
         metadata: {{name: web}}\nspec: {{{config}}}\n",
        VIP.ip(),
    ))
}

/// Fields drop in order.
struct World {
    place: Place,
    _servers: Vec<Server>,
    _control: ControlPlane,
}

impl World {
    fn start(what: &str, manifest: &Manifest) -> anyhow::Result<Self> {
        let netns = testbed::namespace(what)?;
        let control = ControlPlane::start(&netns)?;
        let place = Place::in_netns(&netns);
        let at = |n| SocketAddr::from(SocketAddrV4::new(backend(n), PORT));
        let servers = (0..).zip(VERSIONS).map(|(n, version)| Server::start(&place, version, at(n)));
        let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
        let meshctl = Meshctl::new(&netns)?;
        let file = meshctl.file(manifest)?;
        meshctl.ok(&["apply", "-f", &file])?;
        Ok(Self { place, _servers: servers, _control: control })
    }

    /// A client that has got its configuration.
    fn client(&self) -> anyhow::Result<Client> {
        let mut client = Client::start(&self.place, "xds:///web.default", Some(API.into()))?;
        eventually(|| match client.call(&Calls::who(1)) {
            Ok(answers) if answers.failed.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        Ok(client)
    }
}

#[test]
fn a_channel_keeps_to_its_endpoint() -> anyhow::Result<()> {
    let manifest = manifest("  sessionAffinity: {clientIP: true, timeout: 1h}\n", "");
    let world = World::start("ring", &manifest)?;
    let mut client = world.client()?;
    let mut all = BTreeSet::new();
    for _ in 0..20 {
        // A new channel, and more calls on it.
        let first = client.call(&Calls { fresh: true, ..Calls::who(1) })?;
        let (name, _) = first.texts.first_key_value().context("no answer")?;
        let more = client.call(&Calls::who(30))?;
        ensure!(more.of(name) == 30, "first {name}, then {more:?}");
        all.insert(name.clone());
    }
    ensure!(all.len() > 1, "20 channels, and all of them at {all:?}");
    Ok(())
}

#[test]
fn no_more_requests_at_a_time_than_the_policy_says() -> anyhow::Result<()> {
    let manifest = manifest("", "circuitBreaker: {requests: {maxRequests: 2}}");
    let world = World::start("most", &manifest)?;
    let mut client = world.client()?;
    let headers = vec![("x-sleep", "0.5".to_owned()), ("x-id", "most".to_owned())];
    let calls = Calls { number: 6, method: "Slow", together: true, headers, ..Calls::who(0) };
    for _ in 0..3 {
        let answers = client.call(&calls)?;
        let answered: u64 = answers.texts.values().sum();
        let refused = answers.failed.get("UNAVAILABLE").copied();
        ensure!(answered == 2 && refused == Some(4), "{answers:?}");
    }
    Ok(())
}
