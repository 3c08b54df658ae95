//! What the counters say, as rows of a report: one for each edge that anything was counted of.
//! Pure; the only place that knows which counters there are.

use std::collections::BTreeMap;

use mesh_api::model::{Label, ObjectName};
use mesh_api::wire::{Cause, Edge, Reporter, Traffic, Transport};
use mesh_common::edge::FailureCause;

use crate::edges::{Row, Source};
use crate::ledger::Account;
use crate::worker::Stats;

/// Rows of the node, in the order of their accounts, each edge once. Edges without anything counted
/// have none.
///
/// Values are totals: what a row says never falls, as long as the ledger is kept.
#[must_use]
pub fn rows(stats: &Stats, node: &str) -> Vec<(Edge, Traffic)> {
    let mut rows: BTreeMap<(&Account, &str), Traffic> = BTreeMap::new();
    // Chosen before it is known who asks.
    for (account, counters) in &stats.totals {
        rows.entry((account, UNKNOWN)).or_default().attempts = counters.attempts;
    }
    for ((source, account), Row { counters, failures, duration_us, timed: _ }) in &stats.edges {
        let row = rows.entry((account, name(source))).or_default();
        row.opened = counters.opened;
        row.closed = counters.closed;
        row.failed = counters.failed;
        row.bytes_sent = counters.bytes_sent;
        row.bytes_received = counters.bytes_received;
        row.retransmits = counters.retransmits;
        row.rtt_us = counters.rtt_us;
        row.duration_us = *duration_us;
        row.failures = causes(failures);
    }
    for (account, counters) in &stats.without_backend {
        let row = rows.entry((account, UNKNOWN)).or_default();
        row.refused = counters.refused;
        row.passed = counters.passed;
    }
    let counted = rows.into_iter().filter(|(_, traffic)| *traffic != Traffic::default());
    counted.map(|((account, source), traffic)| (edge(account, source, node), traffic)).collect()
}

/// As reports call a client that is not known.
const UNKNOWN: &str = "";

fn name(source: &Source) -> &str {
    match source {
        Source::Unknown => UNKNOWN,
        Source::Workload(_) | Source::Other => source.as_str(),
    }
}

/// Those that there are.
fn causes(failures: &[u64]) -> Vec<Cause> {
    let cause = |(code, count): (u32, &u64)| Cause {
        name: FailureCause { code }.name().to_owned(),
        count: *count,
    };
    (0..).zip(failures).filter(|(_, count)| **count != 0).map(cause).collect()
}

/// As the client's node sees it.
fn edge(account: &Account, source: &str, node: &str) -> Edge {
    let Account { service, udp, version, workload } = account;
    let transport = if *udp { Transport::Udp } else { Transport::Tcp };
    let text = |label: &Option<Label>| label.as_ref().map(ToString::to_string).unwrap_or_default();
    let part = |of: fn(&ObjectName) -> String| service.as_ref().map(of).unwrap_or_default();
    Edge {
        reporter: Reporter::Source.into(),
        transport: transport.into(),
        source_workload: source.to_owned(),
        source_node: node.to_owned(),
        namespace: part(|name| name.namespace.to_string()),
        service: part(|name| name.name.to_string()),
        version: text(version),
        workload: text(workload),
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::counter::{BackendCounters, ServiceCounters};

    use super::*;
    use crate::report::testing::stats;

    #[test]
    fn an_edge_is_a_row_and_one_without_traffic_is_none() {
        let service: ObjectName = "prod/reviews".parse().unwrap();
        let v1 = Account {
            version: Some("v1".parse().unwrap()),
            workload: Some("reviews-v1".parse().unwrap()),
            udp: true,
            service: Some(service.clone()),
        };
        let idle = Account { version: Some("v2".parse().unwrap()), ..v1.clone() };
        let whole = Account::of_service(service);
        let mut stats = stats();
        let counters =
            BackendCounters { attempts: 1, opened: 2, failed: 3, closed: 4, ..Default::default() };
        let more = BackendCounters {
            bytes_sent: 5,
            bytes_received: 6,
            retransmits: 7,
            rtt_us: 8,
            ..counters
        };
        let of = |counters: BackendCounters| Row {
            counters: BackendCounters { attempts: 0, ..counters },
            failures: [0, 3, 0, 0],
            duration_us: 11,
            timed: 4,
        };
        let client = Source::Workload("nginx.service".parse().unwrap());
        stats.edges.insert((client, v1.clone()), of(more));
        stats.totals.insert(v1, more);
        stats.totals.insert(idle, BackendCounters::default());
        // An endpoint without a version and a workload is counted for the service alone.
        stats.totals.insert(whole.clone(), counters);
        stats.edges.insert((Source::Unknown, whole.clone()), of(counters));
        stats.without_backend.insert(whole, ServiceCounters { refused: 9, passed: 10 });
        let rows = rows(&stats, "n1");
        let edge = Edge {
            reporter: Reporter::Source.into(),
            transport: Transport::Tcp.into(),
            source_node: "n1".to_owned(),
            namespace: "prod".to_owned(),
            service: "reviews".to_owned(),
            ..Edge::default()
        };
        let refused = Cause { name: "refused".to_owned(), count: 3 };
        let traffic = Traffic {
            opened: 2,
            failed: 3,
            closed: 4,
            duration_us: 11,
            failures: vec![refused],
            ..Traffic::default()
        };
        let with = Traffic {
            bytes_sent: 5,
            bytes_received: 6,
            retransmits: 7,
            rtt_us: 8,
            ..traffic.clone()
        };
        let of_version = Edge {
            transport: Transport::Udp.into(),
            version: "v1".to_owned(),
            workload: "reviews-v1".to_owned(),
            ..edge.clone()
        };
        let by_client = Edge { source_workload: "nginx.service".to_owned(), ..of_version.clone() };
        let chosen = Traffic { attempts: 1, ..Traffic::default() };
        let of_service = Traffic { attempts: 1, refused: 9, passed: 10, ..traffic };
        assert_eq!(rows, [(edge, of_service), (of_version, chosen), (by_client, with)]);
    }
}
