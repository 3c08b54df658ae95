//! Prometheus metrics. Connections are named and labelled like Istio's TCP metrics, so that
//! existing dashboards work; the agent's own begin with `mesh_agent_`. docs/metrics.md lists all.

use std::collections::BTreeMap;
use std::fmt;

use mesh_api::model::ObjectName;
use mesh_common::counter::BackendCounters;
use mesh_common::edge::FailureCause;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::accel::{self, Prepared};
use crate::bpf::effective::Foreign;
use crate::edges::{Row, Source};
use crate::figure::signed;
use crate::guard::{metrics, stats};
use crate::health;
use crate::http::ProgramStatus;
use crate::ledger::Account;
use crate::report;
use crate::worker::Stats;
use crate::xds::client::Line;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct Connection {
    reporter: &'static str,
    request_protocol: &'static str,
    destination_service: String,
    destination_service_name: String,
    destination_service_namespace: String,
    destination_workload: String,
    destination_version: String,
    source_workload: String,
}

impl Connection {
    fn of(source: &Source, account: &Account) -> Self {
        let text = |label: &Option<mesh_api::model::Label>| {
            label.as_ref().map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
        };
        Self {
            reporter: "source",
            request_protocol: if account.udp { "udp" } else { "tcp" },
            destination_service: host(account),
            destination_service_name: part(account, |service| &service.name),
            destination_service_namespace: part(account, |service| &service.namespace),
            destination_workload: text(&account.workload),
            destination_version: text(&account.version),
            source_workload: source.to_string(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    cause: &'static str,
    request_protocol: &'static str,
    destination_service: String,
    destination_workload: String,
    source_workload: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    destination_service: String,
    outcome: &'static str,
}

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
    (line, reports): (&Line, &report::metrics::Figures),
    programs: &[ProgramStatus],
    foreign: &[Foreign],
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    connections(&mut registry, stats);
    agent(&mut registry, stats, line);
    health::metrics::register(&mut registry, checks);
    metrics::register(&mut registry, guards);
    accel::metrics::register(&mut registry, acceleration, stats.accelerating, &stats.accelerated);
    accel::auto::metrics::register(&mut registry, auto);
    report::metrics::register(&mut registry, reports);
    hooks(&mut registry, programs, foreign);
    mesh_telemetry::counts().register(&mut registry);
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A counter of connections: name, help text, and where its value is.
type Column = (&'static str, &'static str, fn(&BackendCounters) -> u64);

const COLUMNS: [Column; 7] = [
    ("istio_tcp_connections_opened", "Connections established", |c| c.opened),
    ("istio_tcp_connections_closed", "Established connections that ended", |c| c.closed),
    ("istio_tcp_connections_failed", "Connections that did not get established", |c| c.failed),
    ("istio_tcp_sent_bytes", "Payload bytes sent to backends by ended connections", |c| {
        c.bytes_sent
    }),
    (
        "istio_tcp_received_bytes",
        "Payload bytes received from backends by ended connections",
        |c| c.bytes_received,
    ),
    ("mesh_tcp_connect_attempts", "Times a backend was chosen at connect()", |c| c.attempts),
    ("mesh_tcp_retransmitted_segments", "Segments retransmitted by ended connections", |c| {
        c.retransmits
    }),
];

/// A sum of microseconds, told in seconds.
type Duration = (&'static str, &'static str, fn(&Row) -> u64);

const SECONDS: [Duration; 2] = [
    (
        "mesh_tcp_rtt_seconds",
        "Sum of the smoothed round-trip times at the end of connections",
        |row| row.counters.rtt_us,
    ),
    (
        "mesh_tcp_connection_duration_seconds",
        "Sum of the lives of timed connections, from SYN to the end",
        |row| row.duration_us,
    ),
];

fn connections(registry: &mut Registry, stats: &Stats) {
    let mut rows: BTreeMap<Connection, Row> = BTreeMap::new();
    for ((source, account), row) in &stats.edges {
        rows.entry(Connection::of(source, account)).or_default().add(row);
    }
    // Before a connection is made, nobody knows who makes it.
    for (account, BackendCounters { attempts, .. }) in &stats.totals {
        let row = rows.entry(Connection::of(&Source::Unknown, account)).or_default();
        row.counters.attempts = row.counters.attempts.wrapping_add(*attempts);
    }
    for (name, help, value) in COLUMNS {
        let family = Family::<Connection, Counter>::default();
        for (labels, row) in &rows {
            family.get_or_create(labels).inc_by(value(&row.counters));
        }
        registry.register(name, help, family);
    }
    for (name, help, value) in SECONDS {
        let family = Family::<Connection, Counter<f64, std::sync::atomic::AtomicU64>>::default();
        for (labels, row) in &rows {
            #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds")]
            let seconds = value(row) as f64 / 1e6;
            family.get_or_create(labels).inc_by(seconds);
        }
        registry.register(name, help, family);
    }
    clients(registry, &rows);
    let refused = Family::<ServiceLabels, Counter>::default();
    for (account, counters) in &stats.without_backend {
        let destination_service = host(account);
        for (outcome, value) in [("refused", counters.refused), ("passed", counters.passed)] {
            let labels =
                ServiceLabels { destination_service: destination_service.clone(), outcome };
            refused.get_or_create(&labels).inc_by(value);
        }
    }
    registry.register(
        "mesh_tcp_connects_without_backend",
        "Connects to services that no backend could take",
        refused,
    );
}

/// What only edges count.
fn clients(registry: &mut Registry, rows: &BTreeMap<Connection, Row>) {
    let timed = Family::<Connection, Counter>::default();
    let failures = Family::<Failure, Counter>::default();
    for (labels, row) in rows {
        timed.get_or_create(labels).inc_by(row.timed);
        for (code, count) in (0..).zip(row.failures).filter(|(_, count)| *count > 0) {
            let cause = FailureCause { code }.name();
            let labels = Failure {
                cause,
                request_protocol: labels.request_protocol,
                destination_service: labels.destination_service.clone(),
                destination_workload: labels.destination_workload.clone(),
                source_workload: labels.source_workload.clone(),
            };
            failures.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register(
        "mesh_tcp_timed_connections",
        "Closed connections of which it is known how long they were open",
        timed,
    );
    registry.register(
        "mesh_tcp_connection_failures",
        "Connections that did not get established, by cause",
        failures,
    );
}

/// Label where nothing is known.
const UNKNOWN: &str = "unknown";

/// `name.namespace` of the service.
fn host(account: &Account) -> String {
    let name = |service: &ObjectName| format!("{}.{}", service.name, service.namespace);
    account.service.as_ref().map_or_else(|| UNKNOWN.to_owned(), name)
}

fn part<T: ToString>(account: &Account, part: fn(&ObjectName) -> &T) -> String {
    account.service.as_ref().map_or_else(|| UNKNOWN.to_owned(), |name| part(name).to_string())
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
    let sources = [
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
    ];
    let sources =
        sources.map(|(name, help, count)| (name, help, i64::try_from(count).unwrap_or(i64::MAX)));
    for (name, help, value) in gauges.into_iter().chain(sources) {
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
