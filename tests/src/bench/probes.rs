//! What health checks cost: one agent that checks thousands of endpoints by TCP connect once a
//! second, against the same agent with the same endpoints and no checks.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use mesh_api::wire;
use serde_json::{Value, json};

use super::api::{self, Api};
use super::memory::Memory;
use super::{Outcome, row, world};
use crate::metrics::Metrics;
use crate::netns::NetNs;
use crate::node::Node;
use crate::testbed::{self, PORT, Testbed};
use crate::ui;

/// How many endpoints, and how often.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// Endpoints of the node.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    endpoints: u32,
    /// Milliseconds between two checks of an endpoint.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(50..=60_000))]
    interval_ms: u32,
    /// Seconds of each measurement: without checks, with them, and without again.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// Longest wait for the agent to find all endpoints healthy.
const PATIENCE: Duration = Duration::from_mins(1);
const NODE: &str = "probes";
const PROBES: &str = "mesh_agent_probes_total";
const SKIPPED: &str = "mesh_agent_probes_skipped_total";

/// What an agent did in a while.
struct While {
    seconds: f64,
    /// Of one CPU, percent.
    cpu: f64,
    good: f64,
    failed: f64,
    skipped: f64,
    late: Quantiles,
    took: Quantiles,
    memory: Memory,
}

/// Upper bounds, milliseconds; as fine as the agent's histogram.
struct Quantiles {
    p50: f64,
    p99: f64,
}

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    let netns = testbed::namespace("probes")?;
    // All endpoints are one listener: the kernel answers, and nobody has to accept.
    let _listener = netns.run(|| listen(size))??;
    netns.ip(&["route add local 10.80.0.0/12 dev lo"])?;
    let services = size.endpoints.div_ceil(world::BACKENDS);
    let flags = world::agent_flags(services);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let bed = Testbed::start_in(&netns, NODE, &flags)?;
    ui::note(format!("loading {} endpoints", size.endpoints));
    load(&netns, world::objects(services).map(on_this_node))?;

    ui::note(format!("{} s without checks", size.seconds));
    let before = measure(&bed.node, size)?;
    load(&netns, (0..services).map(|n| config(n, Some(size.interval_ms))))?;
    wait_checked(&bed.node, services * world::BACKENDS)?;
    ui::note(format!("{} s with checks", size.seconds));
    let with = measure(&bed.node, size)?;
    load(&netns, (0..services).map(|n| config(n, None)))?;
    wait_checked(&bed.node, 0)?;
    ui::note(format!("{} s without checks", size.seconds));
    let after = measure(&bed.node, size)?;
    Ok(tell(size, &before, &with, &after))
}

/// Over a connection of its own: nobody answers the pings of one that is kept while we measure.
fn load(netns: &NetNs, objects: impl IntoIterator<Item = wire::Object>) -> anyhow::Result<()> {
    let mut api = Api::connect(netns)?;
    let revision = api.apply_all(objects)?;
    api.wait_node(NODE, revision)
}

fn listen(size: &Size) -> anyhow::Result<TcpListener> {
    use nix::sys::socket::{Backlog, listen};

    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))?;
    // Room for a round of checks at once, should they not withdraw in time.
    let backlog = i32::try_from(size.endpoints)?.min(4_096);
    fs::write("/proc/sys/net/core/somaxconn", "4096")?;
    listen(&listener, Backlog::new(backlog)?)?;
    Ok(listener)
}

fn on_this_node(mut object: wire::Object) -> wire::Object {
    if let Some(wire::object::Spec::Endpoint(endpoint)) = &mut object.spec {
        NODE.clone_into(&mut endpoint.node);
    }
    object
}

fn config(service: u32, interval_ms: Option<u32>) -> wire::Object {
    let check = |interval_ms: u32| wire::HealthCheck {
        tcp: Some(wire::TcpCheck {}),
        interval_ms: Some(interval_ms.into()),
        ..wire::HealthCheck::default()
    };
    let config = wire::ServiceConfig {
        health_check: interval_ms.map(check),
        ..wire::ServiceConfig::default()
    };
    api::object(&format!("s{service}"), wire::object::Spec::ServiceConfig(config))
}

/// Waits until so many endpoints are checked and all of them are healthy.
fn wait_checked(node: &Node, endpoints: u32) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = node.metrics()?;
        let count = |name| metrics.sum(name, &[]);
        let healthy = count("mesh_agent_endpoint_healthy");
        let wanted = f64::from(endpoints);
        let same = |count: f64| (count - wanted).abs() < 0.5;
        if same(healthy) && same(count("mesh_agent_probe_targets")) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{healthy} of {endpoints} endpoints are healthy{}", node.tail());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn measure(node: &Node, size: &Size) -> anyhow::Result<While> {
    let pid = node.id()?;
    let before = node.metrics()?;
    let (ticks, began) = (cpu_ticks(pid)?, Instant::now());
    std::thread::sleep(Duration::from_secs(size.seconds.into()));
    // Each time right after the answer, so that the time between is that between the answers.
    let after = node.metrics()?;
    let (ticks, seconds) = (cpu_ticks(pid)? - ticks, began.elapsed().as_secs_f64());
    let grown =
        |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let good = grown(PROBES, &[("result", "success")]);
    Ok(While {
        seconds,
        cpu: ticks / ticks_a_second()? / seconds * 100.0,
        good,
        failed: grown(PROBES, &[]) - good,
        skipped: grown(SKIPPED, &[]),
        late: quantiles("mesh_agent_probe_lateness_seconds_bucket", &before, &after),
        took: quantiles("mesh_agent_probe_duration_seconds_bucket", &before, &after),
        memory: Memory::of(pid)?,
    })
}

/// User and system time of a process so far (proc(5)).
fn cpu_ticks(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in the stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|time| time.parse::<f64>().context("a time that is none")).sum()
}

fn ticks_a_second() -> anyhow::Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    ticks.map(|ticks| ticks as f64).context("no CLK_TCK")
}

fn quantiles(name: &str, before: &Metrics, after: &Metrics) -> Quantiles {
    let of = |metrics: &Metrics, bound: &str| metrics.sum(name, &[("le", bound)]);
    let samples = after.samples().iter().filter(|sample| sample.name == name);
    let bounds = samples.filter_map(|sample| sample.labels.get("le"));
    // Cumulative, from the smallest bound on.
    let counts: Vec<(f64, f64)> = bounds
        .filter_map(|le| {
            Some((le.replace("+Inf", "inf").parse().ok()?, of(after, le) - of(before, le)))
        })
        .collect();
    let total = counts.last().map_or(0.0, |(_, count)| *count);
    let bound = |share: f64| {
        let found = counts.iter().find(|(_, count)| total > 0.0 && *count >= total * share);
        found.map_or(0.0, |(bound, _)| bound * 1e3)
    };
    Quantiles { p50: bound(0.5), p99: bound(0.99) }
}

fn tell(size: &Size, before: &While, with: &While, after: &While) -> Outcome {
    ui::say(format!(
        "{} endpoints, each checked by TCP connect every {} ms; all on this machine, so that the \
         agent's CPU time has the kernel's work of both ends",
        size.endpoints, size.interval_ms
    ));
    let head = ["CPU %", "checks/s", "failed", "skipped", "RSS MiB", "heap MiB"];
    row("", &head.map(str::to_owned));
    let lines = [("without checks", before), ("with checks", with), ("without again", after)];
    for (name, it) in lines {
        let rate = (it.good + it.failed) / it.seconds;
        let figures = [it.cpu, rate, it.failed, it.skipped, it.memory.rss, it.memory.anon];
        row(name, &figures.map(|figure| format!("{figure:.1}")));
    }
    row("of the checks (ms, at most)", &["p50", "p99"].map(str::to_owned));
    for (name, it) in [("late by", &with.late), ("took", &with.took)] {
        row(name, &[it.p50, it.p99].map(|ms| format!("{ms:.2}")));
    }
    let cost = with.cpu - f64::midpoint(before.cpu, after.cpu);
    let rate = with.good / with.seconds;
    ui::say(format!(
        "checks: {cost:.1} % of one CPU, {:.1} us each",
        cost / 100.0 / rate.max(1.0) * 1e6
    ));
    let figures = json!({
        "endpoints": size.endpoints,
        "interval_ms": size.interval_ms,
        "without": json(before),
        "with": json(with),
        "without_again": json(after),
        "checks_cpu_percent": cost,
        "checks_per_s": rate,
        "late_p50_ms": with.late.p50,
        "late_p99_ms": with.late.p99,
        "took_p50_ms": with.took.p50,
        "took_p99_ms": with.took.p99,
    });
    let fault = (with.failed > 0.0).then(|| format!("{} checks failed", with.failed));
    Outcome { figures, fault }
}

fn json(it: &While) -> Value {
    json!({
        "seconds": it.seconds,
        "cpu_percent": it.cpu,
        "good": it.good,
        "failed": it.failed,
        "skipped": it.skipped,
        "memory": it.memory.json(),
    })
}
