//! One Envoy against a control plane with many services that have rules for requests: how long until
//! it has all of them, how long one endpoint's change takes and how many bytes, and how much memory
//! both processes need.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use mesh_api::wire::{self, Object, object::Spec};
use serde_json::{Value, json};

use super::api::{self, Api};
use super::memory::Memory;
use super::{row, world};
use crate::control::ControlPlane;
use crate::load::get::Http;
use crate::meshctl::Meshctl;
use crate::nginx::Nginx;
use crate::process::Place;
use crate::stats::Figures;
use crate::testbed::{self, PORT, backend};
use crate::ui;
use crate::xds::Envoy;

/// How large a world.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// Services with ten endpoints and a rule each.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    services: u32,
    /// Changes of one endpoint each, after Envoy has everything.
    #[arg(long, default_value_t = 200)]
    changes: u32,
}

/// The service whose only endpoint moves.
const MOVES: &str = "moves";
/// Longest wait for everything.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longest wait for a change.
const SOON: Duration = Duration::from_secs(10);
const RECEIVED: &str = "cluster.xds.upstream_cx_rx_bytes_total";
const LISTENERS: &str = "listener_manager.total_listeners_active";

pub(super) fn run(size: &Size) -> anyhow::Result<Value> {
    let netns = testbed::namespace("proxies")?;
    let servers = [("first", 0), ("second", 1)]
        .map(|(name, n)| (name.to_owned(), SocketAddr::from((backend(n), PORT))));
    let _servers = Nginx::servers(&netns, &servers)?;
    let control = ControlPlane::start(&netns)?;
    let mut api = Api::connect(&netns)?;
    ui::note(format!("loading {} services with rules for requests", size.services));
    let started = Instant::now();
    api.apply_all(objects(size.services))?;
    let load_s = started.elapsed().as_secs_f64();
    // Nothing is said to Envoy before the health of endpoints could be known.
    std::thread::sleep(Duration::from_secs(6));
    let control_before = Memory::of(control.id()?)?;

    ui::note("starting an Envoy that knows nothing");
    let started = Instant::now();
    let envoy = Envoy::start(&netns, &Place::in_netns(&netns), "proxies")?;
    let ready_ms = ms(started);
    while envoy.stat(&netns, LISTENERS)? < u64::from(size.services) + 1 {
        ensure!(started.elapsed() < PATIENCE, "listeners are missing after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let all_ms = ms(started);
    let first_bytes = envoy.stat(&netns, RECEIVED)?;
    let envoy_loaded = Memory::of(envoy.id())?;
    let control_loaded = Memory::of(control.id()?)?;

    ui::note(format!("changing one endpoint {} times", size.changes));
    let meshctl = Meshctl::new(&netns)?;
    let said = meshctl.ok(&["get", "serviceconfig", MOVES, "-o", "json"])?;
    let config: Value = serde_json::from_str(&said.stdout)?;
    let port = config.pointer("/spec/proxyPorts/main").and_then(Value::as_u64);
    let port = u16::try_from(port.context("no port of the proxy")?)?;
    let listener = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let mut client = netns.run(|| Http::open(listener))??;
    let mut took = Vec::new();
    for round in 0..size.changes {
        let (n, name) = if round % 2 == 0 { (1, "second") } else { (0, "first") };
        let started = Instant::now();
        api.apply(vec![moving(n)])?;
        while !client.get()?.starts_with(name) {
            if started.elapsed() > SOON {
                bail!("change {round} is not live after {SOON:?}");
            }
        }
        took.push(ms(started));
    }
    let bytes = envoy.stat(&netns, RECEIVED)?.saturating_sub(first_bytes);
    let per_change = bytes / u64::from(size.changes.max(1));
    let took = Figures::new(took);

    let ms_cells = |cells: &[f64]| cells.iter().map(|it| format!("{it:.1}")).collect::<Vec<_>>();
    row("time, ms", &["ready", "all"].map(str::to_owned));
    row("first configuration", &ms_cells(&[ready_ms, all_ms]));
    row("one endpoint's change, ms", &["median", "p99", "bytes"].map(str::to_owned));
    let mut cells = ms_cells(&[took.median(), took.percentile(99)]);
    cells.push(per_change.to_string());
    row("from the API's call to the next answer", &cells);
    row("memory, MiB", &["rss", "anon", "file", "shmem", "peak"].map(str::to_owned));
    let envoy_changed = Memory::of(envoy.id())?;
    row("Envoy", &envoy_loaded.cells());
    row("Envoy, after the changes", &envoy_changed.cells());
    row("control plane, before Envoy", &control_before.cells());
    row("control plane", &control_loaded.cells());
    Ok(json!({
        "services": size.services,
        "load_s": load_s,
        "ready_ms": ready_ms,
        "all_ms": all_ms,
        "first_configuration_bytes": first_bytes,
        "change_ms_median": took.median(),
        "change_ms_p99": took.percentile(99),
        "change_bytes": per_change,
        "envoy": envoy_loaded.json(),
        "envoy_after_changes": envoy_changed.json(),
        "control_before": control_before.json(),
        "control": control_loaded.json(),
    }))
}

/// Every service with its endpoints and a rule, and the one that moves.
fn objects(services: u32) -> impl Iterator<Item = Object> {
    let rules = (0..services).map(|n| rule(&format!("s{n}")));
    let moves = api::service(MOVES, world::vip(world::MOST), PORT);
    let all = world::objects(services).chain([moves, moving(0), rule(MOVES)]).chain(rules);
    all.map(speaking_http)
}

fn speaking_http(mut object: Object) -> Object {
    if let Some(Spec::Service(service)) = &mut object.spec {
        for port in &mut service.ports {
            "http".clone_into(&mut port.app_protocol);
        }
    }
    object
}

fn moving(n: u8) -> Object {
    api::endpoint(MOVES, MOVES, backend(n), 1)
}

/// All requests, by a path.
fn rule(service: &str) -> Object {
    let rule = wire::TrafficRule {
        destination: Some(wire::Destination { version: "v1".to_owned(), ..Default::default() }),
        r#match: Some(wire::Match {
            path: Some(wire::PathMatch { value: "/".to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let config = wire::ServiceConfig { traffic_rules: vec![rule], ..Default::default() };
    api::object(service, Spec::ServiceConfig(config))
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
