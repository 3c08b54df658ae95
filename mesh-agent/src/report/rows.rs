//! What the counters say, as rows of a report: one for each edge that anything was counted of.
//! Pure; the only place that knows which counters there are.

use std::collections::BTreeMap;

use mesh_api::model::{Label, ObjectName};
use mesh_api::wire::{Cause, Edge, Move, Reporter, Traffic, Transport};
use mesh_common::edge::FailureCause;
use mesh_common::refusal::{RefusalCause, RefusalCounters};

use crate::edges::{Row, Source};
use crate::ledger::Account;
use crate::worker::Stats;

/// What a report is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Totals, each edge once.
    pub rows: Vec<(Edge, Traffic)>,
    /// What is counted on another edge since, that the control plane is not known to know.
    pub moves: Vec<Move>,
    /// Number of the last of them.
    pub last_move: u64,
}

impl From<Vec<(Edge, Traffic)>> for Counted {
    fn from(rows: Vec<(Edge, Traffic)>) -> Self {
        Self { rows, ..Self::default() }
    }
}

/// All that a report of the node is made of.
#[must_use]
pub fn counted(stats: &Stats, node: &str) -> Counted {
    let (moves, last_move) = &stats.moves;
    let moves = moves.iter().map(|it| Move {
        from: Some(edge((&it.account, name(&it.from), End::Source), node)),
        into: Some(edge((&it.account, name(&Source::Other), End::Source), node)),
        traffic: Some(Traffic {
            refused: it.refused.total(),
            refusals: refusals(&it.refused),
            ..traffic(&Row::of_edge(&it.account, &it.counters))
        }),
    });
    Counted { rows: rows(stats, node), moves: moves.collect(), last_move: *last_move }
}

/// Rows of the node, in the order of their accounts, each edge once. Edges without anything counted
/// have none.
///
/// Values are totals: what a row says never falls, as long as the ledger is kept.
#[must_use]
pub fn rows(stats: &Stats, node: &str) -> Vec<(Edge, Traffic)> {
    let mut rows: BTreeMap<Key<'_>, Traffic> = BTreeMap::new();
    // Chosen before it is known who asks.
    for (account, counters) in &stats.totals {
        rows.entry((account, UNKNOWN, End::Source)).or_default().attempts = counters.attempts;
    }
    let edges =
        stats.edges.iter().map(|((source, account), row)| (End::Source, source, account, row));
    let inbound = stats.inbound.iter();
    let inbound = inbound.map(|((source, account), row)| (End::Destination, source, account, row));
    for (end, source, account, counted) in edges.chain(inbound) {
        let row = rows.entry((account, name(source), end)).or_default();
        *row = Traffic { attempts: row.attempts, ..traffic(counted) };
    }
    for ((source, account), counters) in &stats.refusals {
        let row = rows.entry((account, name(source), End::Source)).or_default();
        row.refused = counters.total();
        row.refusals = refusals(counters);
    }
    for (account, counters) in &stats.without_backend {
        rows.entry((account, UNKNOWN, End::Source)).or_default().passed = counters.passed;
    }
    let counted = rows.into_iter().filter(|(_, traffic)| *traffic != Traffic::default());
    counted.map(|(key, traffic)| (edge(key, node), traffic)).collect()
}

/// Who is counted, who makes connections, and at which end that was counted.
type Key<'a> = (&'a Account, &'a str, End);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Source,
    Destination,
}

/// All but attempts, and what no backend could take.
fn traffic(Row { counters, failures, duration_us, timed: _ }: &Row) -> Traffic {
    Traffic {
        opened: counters.opened,
        closed: counters.closed,
        failed: counters.failed,
        bytes_sent: counters.bytes_sent,
        bytes_received: counters.bytes_received,
        retransmits: counters.retransmits,
        rtt_us: counters.rtt_us,
        duration_us: *duration_us,
        failures: causes(failures),
        ..Traffic::default()
    }
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

/// Those that there are, but for what has no cause.
fn refusals(counters: &RefusalCounters) -> Vec<Cause> {
    let causes = (0..).zip(counters.refused).map(|(code, count)| (RefusalCause { code }, count));
    let known = causes.filter(|(cause, count)| *cause != RefusalCause::UNKNOWN && *count != 0);
    known.map(|(cause, count)| Cause { name: cause.name().to_owned(), count }).collect()
}

/// The client's node is not known at the other end.
fn edge((account, source, end): Key<'_>, node: &str) -> Edge {
    let (reporter, source_node) = match end {
        End::Source => (Reporter::Source, node),
        End::Destination => (Reporter::Destination, ""),
    };
    let Account { service, udp, version, workload } = account;
    let transport = if *udp { Transport::Udp } else { Transport::Tcp };
    let text = |label: &Option<Label>| label.as_ref().map(ToString::to_string).unwrap_or_default();
    let part = |of: fn(&ObjectName) -> String| service.as_ref().map(of).unwrap_or_default();
    Edge {
        reporter: reporter.into(),
        transport: transport.into(),
        source_workload: source.to_owned(),
        source_node: source_node.to_owned(),
        namespace: part(|name| name.namespace.to_string()),
        service: part(|name| name.name.to_string()),
        version: text(version),
        workload: text(workload),
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::counter::{BackendCounters, ServiceCounters};
    use mesh_common::reason::Reason;

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
        stats.without_backend.insert(whole.clone(), ServiceCounters { refused: 9, passed: 10 });
        let breaker = RefusalCause::from_reason(Reason::BREAKER_OPEN);
        let nobody = RefusalCounters::of(RefusalCause::UNKNOWN, 2);
        stats.refusals.insert((Source::Unknown, whole.clone()), nobody);
        let asked = Source::Workload("cron.service".parse().unwrap());
        stats.refusals.insert((asked, whole), RefusalCounters::of(breaker, 7));
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
        let of_service = Traffic { attempts: 1, refused: 2, passed: 10, ..traffic };
        let open = Cause { name: "breaker_open".to_owned(), count: 7 };
        let refused = Traffic { refused: 7, refusals: vec![open], ..Traffic::default() };
        let asked = Edge { source_workload: "cron.service".to_owned(), ..edge.clone() };
        let expected =
            [(edge, of_service), (asked, refused), (of_version, chosen), (by_client, with)];
        assert_eq!(rows, expected);
    }
}
