//! Connections by who is counted. Written as text at once: with 10,000 services these are nearly
//! all of a scrape, and their labels are the same in every metric.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use mesh_common::counter::BackendCounters;
use mesh_common::edge::FailureCause;

use super::labels::Labels;
use crate::edges::{Row, Source};
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

const FAILURES: &str = "mesh_tcp_connection_failures";
const WITHOUT: &str = "mesh_tcp_connects_without_backend";

/// Appends all of them.
pub(super) fn write(to: &mut String, stats: &Stats) -> fmt::Result {
    let mut rows: BTreeMap<Labels<'_>, Row> = BTreeMap::new();
    for ((source, account), row) in &stats.edges {
        rows.entry(Labels::of(source, account)).or_default().add(row);
    }
    // Before a connection is made, nobody knows who makes it.
    for (account, BackendCounters { attempts, .. }) in &stats.totals {
        let row = rows.entry(Labels::of(&Source::Unknown, account)).or_default();
        row.counters.attempts = row.counters.attempts.wrapping_add(*attempts);
    }
    let texts: Vec<_> = rows.iter().map(|(labels, row)| (labels.istio(), row)).collect();
    to.reserve(length(&texts) * ISTIO.len());
    for (name, help, flag, value) in ISTIO {
        head(to, name, help)?;
        for (labels, row) in &texts {
            writeln!(to, "{name}_total{labels}{flag}\"}} {}", value(&row.counters))?;
        }
    }
    let texts: Vec<_> = rows.iter().map(|(labels, row)| (labels.own(), row)).collect();
    to.reserve(length(&texts) * (OWN.len() + SECONDS.len()));
    own(to, &texts)?;
    failures(to, &texts)?;
    without_backend(to, stats)
}

/// Bytes of a metric with these labels, about.
fn length(texts: &[(String, &Row)]) -> usize {
    texts.iter().map(|(labels, _)| labels.len() + 64).sum()
}

fn own(to: &mut String, texts: &[(String, &Row)]) -> fmt::Result {
    for (name, help, value) in OWN {
        head(to, name, help)?;
        for (labels, row) in texts {
            writeln!(to, "{name}_total{labels}}} {}", value(row))?;
        }
    }
    for (name, help, value) in SECONDS {
        head(to, name, help)?;
        for (labels, row) in texts {
            let (seconds, micros) = (value(row) / 1_000_000, value(row) % 1_000_000);
            writeln!(to, "{name}_total{labels}}} {seconds}.{micros:06}")?;
        }
    }
    Ok(())
}

fn failures(to: &mut String, texts: &[(String, &Row)]) -> fmt::Result {
    head(to, FAILURES, "Connections that did not get established, by cause")?;
    for (labels, row) in texts {
        for (code, count) in (0..).zip(row.failures).filter(|(_, count)| *count > 0) {
            let cause = FailureCause { code }.name();
            writeln!(to, "{FAILURES}_total{labels},cause=\"{cause}\"}} {count}")?;
        }
    }
    Ok(())
}

fn without_backend(to: &mut String, stats: &Stats) -> fmt::Result {
    head(to, WITHOUT, "Connects to services that no backend could take")?;
    for (account, counters) in &stats.without_backend {
        for (outcome, value) in [("refused", counters.refused), ("passed", counters.passed)] {
            to.push_str(WITHOUT);
            Labels::of(&Source::Unknown, account).host(to, "_total{destination_service");
            writeln!(to, ",outcome=\"{outcome}\"}} {value}")?;
        }
    }
    Ok(())
}

/// What comes before the samples of a counter.
fn head(to: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(to, "# HELP {name} {help}.\n# TYPE {name} counter")
}
