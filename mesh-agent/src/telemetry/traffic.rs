//! Connections by who is counted. Written as text at once: with 10,000 services these are nearly
//! all of a scrape, and their labels are the same in every metric.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use mesh_common::counter::BackendCounters;
use mesh_common::edge::FailureCause;
use mesh_common::refusal::{RefusalCause, RefusalCounters};

use super::labels::{Labels, Reporter, put};
use crate::edges::{Row, Source};
use crate::ledger::Count as _;
use crate::worker::Stats;

/// A counter of Istio's: name, help text, flag of the connections, and where its value is.
type Istio = (&'static str, &'static str, &'static str, fn(&BackendCounters) -> u64);

/// Istio counts bytes as the server sees them, whoever reports; we count as the client does.
const ISTIO: [Istio; 5] = [
    ("istio_tcp_connections_opened", "Connections established", "-", |c| c.opened),
    ("istio_tcp_connections_closed", "Established connections that ended", "-", |c| c.closed),
    ("istio_tcp_connections_failed", "Connections that did not get established", "CONNECT", |c| {
        c.failed
    }),
    (
        "istio_tcp_sent_bytes",
        "Payload bytes of responses, server to client, of ended connections",
        "-",
        |c| c.bytes_received,
    ),
    (
        "istio_tcp_received_bytes",
        "Payload bytes of requests, client to server, of ended connections",
        "-",
        |c| c.bytes_sent,
    ),
];

/// A counter of our own.
type Own = (&'static str, &'static str, fn(&Row) -> u64);

const OWN: [Own; 3] = [
    ("mesh_tcp_connect_attempts", "Times a backend was chosen at connect()", |row| {
        row.counters.attempts
    }),
    ("mesh_tcp_retransmitted_segments", "Segments retransmitted by ended connections", |row| {
        row.counters.retransmits
    }),
    (
        "mesh_tcp_timed_connections",
        "Closed connections of which it is known how long they were open",
        |row| row.timed,
    ),
];

/// Sums of microseconds, told in seconds.
const SECONDS: [Own; 2] = [
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

/// What only the client's end knows.
const AT_CLIENT: [&str; 2] = ["istio_tcp_connections_failed", "mesh_tcp_connect_attempts"];

const FAILURES: &str = "mesh_tcp_connection_failures";
const WITHOUT: &str = "mesh_tcp_connects_without_backend";

/// Appends all of them.
pub(super) fn write(to: &mut String, stats: &Stats) -> fmt::Result {
    let mut rows: BTreeMap<Labels<'_>, Row> = BTreeMap::new();
    for ((source, account), row) in &stats.edges {
        rows.entry(Labels::of(Reporter::Source, source, account)).or_default().add(row);
    }
    for ((source, account), row) in &stats.inbound {
        rows.entry(Labels::of(Reporter::Destination, source, account)).or_default().add(row);
    }
    // Before a connection is made, nobody knows who makes it.
    for (account, BackendCounters { attempts, .. }) in &stats.totals {
        let labels = Labels::of(Reporter::Source, &Source::Unknown, account);
        let row = rows.entry(labels).or_default();
        row.counters.attempts = row.counters.attempts.wrapping_add(*attempts);
    }
    let text = |(labels, row)| Text { labels, spelt: Labels::istio(labels), row };
    let texts: Vec<_> = rows.iter().map(text).collect();
    to.reserve(length(&texts) * ISTIO.len());
    for (name, help, flag, value) in ISTIO {
        head(to, name, help)?;
        for Text { spelt, row, .. } in texts.iter().filter(|text| text.knows(name)) {
            writeln!(to, "{name}_total{spelt}{flag}\"}} {}", value(&row.counters))?;
        }
    }
    let text = |(labels, row)| Text { labels, spelt: Labels::own(labels), row };
    let texts: Vec<_> = rows.iter().map(text).collect();
    to.reserve(length(&texts) * (OWN.len() + SECONDS.len()));
    own(to, &texts)?;
    failures(to, &texts)?;
    without_backend(to, stats)
}

/// A row, and its labels as they are written.
struct Text<'a> {
    labels: &'a Labels<'a>,
    spelt: String,
    row: &'a Row,
}

impl Text<'_> {
    /// Whether the end that counts them knows what this metric says.
    fn knows(&self, metric: &str) -> bool {
        self.labels.reporter == Reporter::Source || !AT_CLIENT.contains(&metric)
    }
}

/// Bytes of a metric with these labels, about.
fn length(texts: &[Text<'_>]) -> usize {
    texts.iter().map(|text| text.spelt.len() + 64).sum()
}

fn own(to: &mut String, texts: &[Text<'_>]) -> fmt::Result {
    for (name, help, value) in OWN {
        head(to, name, help)?;
        for Text { spelt, row, .. } in texts.iter().filter(|text| text.knows(name)) {
            writeln!(to, "{name}_total{spelt}}} {}", value(row))?;
        }
    }
    for (name, help, value) in SECONDS {
        head(to, name, help)?;
        for Text { spelt, row, .. } in texts {
            let (seconds, micros) = (value(row) / 1_000_000, value(row) % 1_000_000);
            writeln!(to, "{name}_total{spelt}}} {seconds}.{micros:06}")?;
        }
    }
    Ok(())
}

fn failures(to: &mut String, texts: &[Text<'_>]) -> fmt::Result {
    head(to, FAILURES, "Connections that did not get established, by cause")?;
    for Text { spelt, row, .. } in texts {
        for (code, count) in (0..).zip(row.failures).filter(|(_, count)| *count > 0) {
            let cause = FailureCause { code }.name();
            writeln!(to, "{FAILURES}_total{spelt},cause=\"{cause}\"}} {count}")?;
        }
    }
    Ok(())
}

fn without_backend(to: &mut String, stats: &Stats) -> fmt::Result {
    head(to, WITHOUT, "Connects to services that no backend could take")?;
    let mut rows: BTreeMap<Labels<'_>, RefusalCounters> = BTreeMap::new();
    for ((source, account), counters) in &stats.refusals {
        let row = rows.entry(Labels::of(Reporter::Source, source, account)).or_default();
        *row = row.and(counters);
    }
    // Each service has a row, so that its first refusal is an increase.
    for account in stats.without_backend.keys() {
        rows.entry(Labels::of(Reporter::Source, &Source::Unknown, account)).or_default();
    }
    for (labels, counters) in rows {
        for (code, count) in (0..).zip(counters.refused) {
            let cause = RefusalCause { code };
            let first = labels.source.workload.is_empty() && cause == RefusalCause::UNKNOWN;
            if count > 0 || first {
                without(to, &labels, "refused", cause.name(), count)?;
            }
        }
    }
    for (account, counters) in &stats.without_backend {
        let labels = Labels::of(Reporter::Source, &Source::Unknown, account);
        without(to, &labels, "passed", "no_backend_passed", counters.passed)?;
    }
    Ok(())
}

fn without(
    to: &mut String,
    labels: &Labels<'_>,
    outcome: &str,
    reason: &str,
    count: u64,
) -> fmt::Result {
    to.push_str(WITHOUT);
    labels.host(to, "_total{destination_service");
    put(to, ",source_workload", labels.source.workload);
    writeln!(to, ",outcome=\"{outcome}\",reason=\"{reason}\"}} {count}")
}

/// What comes before the samples of a counter.
fn head(to: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(to, "# HELP {name} {help}.\n# TYPE {name} counter")
}
