//! Prometheus metrics. Connections are named and labelled like Istio's TCP metrics, so that
//! existing dashboards work; the agent's own begin with `mesh_agent_`. docs/metrics.md lists all.

mod labels;
#[cfg(test)]
mod tests;
mod traffic;

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::accel::{self, Prepared};
use crate::bpf::effective::Foreign;
use crate::figure::signed;
use crate::guard::{metrics, stats};
use crate::health;
use crate::http::ProgramStatus;
use crate::proxy::{self, follow::Known};
use crate::report;
use crate::worker::Stats;
use crate::xds::client::Line;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabels {
    protocol: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MapLabels {
    map: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabels {
    program: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ForeignLabels {
    program: String,
    hook: String,
}

/// Renders everything in the `OpenMetrics` text format.
pub fn render(
    stats: &Stats,
    checks: &health::metrics::Figures,
    guards: &stats::Stats,
    (acceleration, auto): (&Prepared, &accel::auto::metrics::Figures),
    (line, reports, proxy): (&Line, &report::metrics::Figures, &Known),
    programs: &[ProgramStatus],
    foreign: &[Foreign],
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    agent(&mut registry, stats, line);
    health::metrics::register(&mut registry, checks);
    metrics::register(&mut registry, guards);
    accel::metrics::register(&mut registry, acceleration, stats.accelerating, &stats.accelerated);
    accel::auto::metrics::register(&mut registry, auto);
    report::metrics::register(&mut registry, reports);
    proxy::metrics::register(&mut registry, stats.proxied, proxy);
    hooks(&mut registry, programs, foreign);
    mesh_telemetry::counts().register(&mut registry);
    let mut text = connections(stats)?;
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Those of connections; none where what has no name yet would be counted again under its name.
fn connections(stats: &Stats) -> Result<String, fmt::Error> {
    let mut text = String::new();
    if stats.settled {
        traffic::write(&mut text, stats)?;
    }
    Ok(text)
}

fn agent(registry: &mut Registry, stats: &Stats, line: &Line) {
    let reasons = Family::<ReasonLabels, Counter>::default();
    for (reason, count) in &stats.reasons {
        reasons.get_or_create(&ReasonLabels { reason }).inc_by(*count);
    }
    registry.register("mesh_bpf_exits", "Ends of eBPF programs by reason", reasons);

    let (used, possible) =
        (Family::<MapLabels, Gauge>::default(), Family::<MapLabels, Gauge>::default());
    for (map, entries, limit) in &stats.usage {
        let labels = MapLabels { map };
        used.get_or_create(&labels).set(signed(*entries));
        possible.get_or_create(&labels).set(signed(*limit));
    }
    registry.register("mesh_bpf_map_entries", "Used entries of maps", used);
    registry.register("mesh_bpf_map_max_entries", "Entries that maps can hold", possible);

    let gauges = [
        ("mesh_agent_connected", "1 with a stream to the control plane", i64::from(line.connected)),
        (
            "mesh_agent_live_revision",
            "Revision that is live in the maps and acknowledged",
            signed(line.live_revision),
        ),
        (
            "mesh_agent_rejections",
            "Services that cannot be programmed now",
            i64::try_from(stats.rejections.len()).unwrap_or(i64::MAX),
        ),
    ];
    let counts = [
        ("mesh_agent_taps", "Who looks at connections as they come and go", stats.taps),
        (
            "mesh_agent_source_workloads",
            "Workloads of this node that connections are told apart by",
            stats.sources.0,
        ),
        (
            "mesh_agent_source_workloads_other",
            "Workloads of this node whose connections are counted together",
            stats.sources.1,
        ),
        (
            "mesh_agent_settled_edges",
            "Edges whose counts are kept outside the maps",
            stats.settled_edges.0,
        ),
        (
            "mesh_agent_ledger_written",
            "1 where what is kept outside the maps is on disk",
            usize::from(stats.settled_edges.1),
        ),
    ];
    let counts =
        counts.map(|(name, help, count)| (name, help, i64::try_from(count).unwrap_or(i64::MAX)));
    for (name, help, value) in gauges.into_iter().chain(counts) {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let ended = Family::<EndedLabels, Counter>::default();
    for (protocol, counts) in [("tcp", stats.ended.tcp), ("udp", stats.ended.udp)] {
        for (outcome, count) in [
            ("destroyed", counts.destroyed),
            ("gone", counts.gone),
            ("unsupported", counts.unsupported),
            ("failed", counts.failed),
        ] {
            ended.get_or_create(&EndedLabels { protocol, outcome }).inc_by(count);
        }
    }
    registry.register(
        "mesh_agent_stale_sockets",
        "Sockets that still pointed to a removed endpoint, by what became of them",
        ended,
    );
    let counters = [
        ("mesh_agent_map_writes", "Writes to the policy maps", stats.writes),
        ("mesh_agent_map_failures", "Times the maps could not be written", stats.failures),
    ];
    for (name, help, value) in counters {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

/// A gauge of programs: name, help text, and where its value is.
type Gauged = (&'static str, &'static str, fn(&ProgramStatus) -> bool);

const GAUGED: [Gauged; 3] = [
    ("mesh_bpf_attached", "1 where a program is attached", |program| program.hook.link.attached),
    ("mesh_bpf_effective", "1 where the kernel runs a program", |program| program.hook.effective),
    (
        "mesh_bpf_fires",
        "1 where the canary found a program to work, or this machine cannot try it",
        |program| program.fires.is_good(),
    ),
];

fn hooks(registry: &mut Registry, programs: &[ProgramStatus], foreign: &[Foreign]) {
    for (name, help, value) in GAUGED {
        let family = Family::<HookLabels, Gauge>::default();
        for program in programs {
            let labels = HookLabels { program: program.hook.link.program.clone() };
            family.get_or_create(&labels).set(i64::from(value(program)));
        }
        registry.register(name, help, family);
    }
    let others = Family::<ForeignLabels, Gauge>::default();
    for Foreign { name, hook, .. } in foreign {
        let labels = ForeignLabels { program: name.clone(), hook: hook.clone() };
        others.get_or_create(&labels).inc();
    }
    registry.register(
        "mesh_bpf_foreign_programs",
        "Programs of others at the hooks of the mesh",
        others,
    );
}
