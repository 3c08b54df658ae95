//! Routes that change under load: 500 requests a second through Envoy, 50 changes, and no request
//! fails. How long each change takes to be live is printed.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mesh_tests::load::get::Http;
use mesh_tests::manifest::Manifest;
use mesh_tests::nginx::Nginx;
use mesh_tests::process::Place;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend};
use mesh_tests::ui;
use mesh_tests::wait::eventually;
use mesh_tests::xds::Envoy;
use serde_json::Value;

const CHANGES: usize = 50;
const CLIENTS: u64 = 5;
/// Of each client: 100 requests a second.
const PAUSE: Duration = Duration::from_millis(10);

fn manifest(to: &str) -> Manifest {
    let endpoint = |n: u8, name: &str| {
        format!(
            "---\napiVersion: mesh.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: web-{name}}}\n\
             spec: {{service: web, version: {name}, address: {}}}\n",
            backend(n)
        )
    };
    Manifest::from_text(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  \
         vips: [{}]\n  ports: [{{name: http, port: 80, targetPort: {PORT}, appProtocol: http}}]\n\
         {}{}---\napiVersion: mesh.dev/v1alpha1\nkind: ServiceConfig\nmetadata: {{name: web}}\n\
         spec:\n  trafficRules:\n  - {{match: {{path: {{value: /}}}}, destination: {{version: {to}}}}}\n",
        VIP.ip(),
        endpoint(0, "v1"),
        endpoint(1, "v2"),
    ))
}

/// Who answers a request.
fn who(client: &mut Http) -> anyhow::Result<String> {
    Ok(client.get()?.split(' ').next().unwrap_or_default().to_owned())
}

/// When which version answered, until `stop`.
fn load(to: SocketAddr, stop: &AtomicBool) -> anyhow::Result<Vec<(Instant, String)>> {
    let mut seen = Vec::new();
    let mut client = Http::open(to)?;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let answer = who(&mut client).with_context(|| format!("after {} requests", seen.len()))?;
        seen.push((sent, answer));
        next += PAUSE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(seen)
}

#[test]
fn no_request_fails_while_routes_change() -> anyhow::Result<()> {
    let bed = Testbed::start("routes")?;
    let at = |n| SocketAddr::from(SocketAddrV4::new(backend(n), PORT));
    let servers = [("v1".to_owned(), at(0)), ("v2".to_owned(), at(1))];
    let _servers = Nginx::servers(&bed.netns, &servers)?;
    bed.meshctl.apply(&manifest("v1"))?;
    let envoy = Envoy::start(&bed.netns, &Place::in_netns(&bed.netns), "routes")?;
    let said = bed.meshctl.ok(&["get", "serviceconfig", "web", "-o", "json"])?;
    let config: Value = serde_json::from_str(&said.stdout)?;
    let port = config.pointer("/spec/proxyPorts/http").and_then(Value::as_u64);
    let port = u16::try_from(port.context("no port of the proxy")?)?;
    let to = SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    eventually(|| {
        let answer =
            bed.netns.run(|| who(&mut Http::open(to)?)).map_err(|error| error.to_string())?;
        if answer.is_ok_and(|it| it == "v1") { Ok(()) } else { Err("no answer".to_owned()) }
    })?;

    let stop = AtomicBool::new(false);
    let (changes, seen) = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| bed.netns.run(|| load(to, &stop)))).collect();
        let changes: anyhow::Result<Vec<_>> = (0..CHANGES)
            .map(|n| {
                let version = if n % 2 == 0 { "v2" } else { "v1" };
                let began = Instant::now();
                bed.meshctl.apply(&manifest(version))?;
                let stored = Instant::now();
                thread::sleep(Duration::from_millis(300));
                Ok((began, stored, version))
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (changes, seen)
    });
    let changes = changes?;
    let mut all = Vec::new();
    for client in seen {
        let Ok(client) = client else { bail!("a client panicked: {}", envoy.log()) };
        all.extend(client??);
    }
    all.sort();
    let mut took = Vec::new();
    let ends = changes.iter().skip(1).map(|(began, ..)| Some(*began)).chain([None]);
    for ((began, stored, version), end) in changes.iter().zip(ends) {
        let within =
            all.iter().filter(|(sent, _)| sent > began && end.is_none_or(|end| *sent < end));
        let within: Vec<_> = within.collect();
        let last_old = within.iter().rev().find(|(_, answer)| answer != version);
        ensure!(within.last().is_some_and(|(_, it)| it == version), "{version} is never live");
        let live =
            last_old.map_or(Duration::ZERO, |(sent, _)| sent.saturating_duration_since(*began));
        took.push((live, stored.saturating_duration_since(*began)));
    }
    took.sort();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    ui::say(format!(
        "{} requests, none failed; {CHANGES} changes, each live after: p50 {:.0?}, p99 {:.0?} from the \
         start of `meshctl apply`, which itself took {:.0?}",
        all.len(),
        at(50).0,
        at(99).0,
        at(50).1,
    ));
    ensure!(all.len() > CHANGES * 100, "only {} requests", all.len());
    Ok(())
}
