//! The text of connections, line by line.

use std::collections::BTreeMap;

use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCause, RefusalCounters};

use super::traffic;
use crate::edges::{Row, Source};
use crate::ledger::Account;
use crate::worker::Stats;

fn account(service: &str, version: Option<&str>, workload: Option<&str>) -> Account {
    Account {
        service: Some(service.parse().unwrap()),
        udp: false,
        version: version.map(|it| it.parse().unwrap()),
        workload: workload.map(|it| it.parse().unwrap()),
    }
}

const COUNTERS: BackendCounters = BackendCounters {
    attempts: 9,
    opened: 7,
    failed: 2,
    closed: 6,
    bytes_sent: 1_000,
    bytes_received: 2_000,
    retransmits: 3,
    rtt_us: 4_000_005,
};

fn written(accounts: impl IntoIterator<Item = Account>) -> String {
    let row = Row { counters: COUNTERS, failures: [0, 2, 0, 0], duration_us: 5_000_000, timed: 6 };
    let edges = accounts.into_iter().map(|account| ((Source::Unknown, account), row)).collect();
    let refused = ServiceCounters { refused: 5, passed: 7 };
    let web = Account::of_service("shop/web".parse().unwrap());
    let client = Source::Workload("front.service".parse().unwrap());
    let breaker = RefusalCause::from_reason(Reason::BREAKER_OPEN);
    let stats = Stats {
        edges,
        without_backend: [(web.clone(), refused)].into(),
        refusals: [
            ((client, web.clone()), RefusalCounters::of(breaker, 3)),
            ((Source::Unknown, web), RefusalCounters::of(RefusalCause::UNKNOWN, 2)),
        ]
        .into(),
        ..Stats::default()
    };
    let mut text = String::new();
    traffic::write(&mut text, &stats).unwrap();
    text
}

/// Values by everything before them.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = lines.filter_map(|line| line.rsplit_once(' ')).collect();
    let unique: BTreeMap<_, _> = samples.iter().copied().collect();
    assert_eq!(unique.len(), samples.len(), "a series is there twice: {text}");
    unique
}

#[test]
fn istio_has_the_bytes_as_the_server_sees_them() {
    let text = written([account("shop/web", Some("v2"), Some("web.service"))]);
    let labels = "reporter=\"source\",request_protocol=\"tcp\",\
        destination_service=\"web.shop\",destination_service_name=\"web\",\
        destination_service_namespace=\"shop\",source_workload=\"unknown\",\
        source_workload_namespace=\"unknown\",source_version=\"unknown\",\
        source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\",\
        source_app=\"unknown\",source_principal=\"unknown\",source_cluster=\"unknown\",\
        destination_workload=\"web.service\",destination_workload_namespace=\"shop\",\
        destination_version=\"v2\",destination_canonical_service=\"web.service\",\
        destination_canonical_revision=\"v2\",destination_app=\"unknown\",\
        destination_principal=\"unknown\",destination_cluster=\"unknown\",\
        connection_security_policy=\"unknown\",response_flags=";
    let samples = samples(&text);
    for (name, flag, value) in [
        ("connections_opened", "-", "7"),
        ("connections_closed", "-", "6"),
        ("connections_failed", "CONNECT", "2"),
        ("sent_bytes", "-", "2000"),
        ("received_bytes", "-", "1000"),
    ] {
        let series = format!("istio_tcp_{name}_total{{{labels}\"{flag}\"}}");
        assert_eq!(samples.get(series.as_str()), Some(&value), "no {series} in {text}");
    }
}

#[test]
fn our_own_have_only_labels_that_tell_something() {
    let text = written([account("shop/web", None, None)]);
    let labels = "{reporter=\"source\",request_protocol=\"tcp\",\
        destination_service=\"web.shop\",destination_service_name=\"web\",\
        destination_service_namespace=\"shop\",source_workload=\"unknown\",\
        source_workload_namespace=\"unknown\",source_version=\"unknown\",\
        destination_workload=\"unknown\",destination_workload_namespace=\"shop\",\
        destination_version=\"unknown\"}";
    let samples = samples(&text);
    for (name, value) in [
        ("connect_attempts", "9"),
        ("retransmitted_segments", "3"),
        ("rtt_seconds", "4.000005"),
        ("timed_connections", "6"),
        ("connection_duration_seconds", "5.000000"),
    ] {
        let series = format!("mesh_tcp_{name}_total{labels}");
        assert_eq!(samples.get(series.as_str()), Some(&value), "no {series} in {text}");
    }
    let failed = format!(
        "mesh_tcp_connection_failures_total{},cause=\"refused\"}}",
        &labels[..labels.len() - 1]
    );
    assert_eq!(samples.get(failed.as_str()), Some(&"2"), "no {failed} in {text}");
    for (source, outcome, reason, value) in [
        ("front.service", "refused", "breaker_open", "3"),
        ("unknown", "refused", "unknown", "2"),
        ("unknown", "passed", "no_backend_passed", "7"),
    ] {
        let series = format!(
            "mesh_tcp_connects_without_backend_total{{destination_service=\"web.shop\",\
             source_workload=\"{source}\",outcome=\"{outcome}\",reason=\"{reason}\"}}"
        );
        assert_eq!(samples.get(series.as_str()), Some(&value), "no {series} in {text}");
    }
}

#[test]
fn no_series_is_there_twice_and_values_are_escaped() {
    let text = written([
        account("shop/web", Some("unknown"), None),
        account("shop/web", None, Some("unknown")),
        account("shop/web", None, Some("a\"b\"\\c")),
        Account::default(),
        Account { udp: true, ..Account::default() },
    ]);
    let opened: Vec<_> = samples(&text)
        .into_iter()
        .filter(|(series, _)| series.starts_with("istio_tcp_connections_opened_total"))
        .collect();
    let of = |label: &str| {
        opened.iter().find(|(series, _)| series.contains(label)).map(|(_, value)| *value)
    };
    assert_eq!(opened.len(), 4, "{text}");
    assert_eq!(of("web.shop\",destination_service_name=\"web\""), Some("7"));
    assert_eq!(of("destination_workload=\"a\\\"b\\\"\\\\c\""), Some("7"));
    assert_eq!(of("destination_service=\"unknown\""), Some("7"));
    let merged = opened.iter().filter(|(_, value)| *value == "14").count();
    assert_eq!(merged, 1, "{text}");
}

#[test]
fn those_who_make_connections_have_rows_of_their_own() {
    let web = account("shop/web", None, None);
    let source = |name: &str| Source::Workload(name.parse().unwrap());
    let row = |opened| {
        let counters = BackendCounters { opened, ..BackendCounters::default() };
        Row { counters, ..Row::default() }
    };
    let stats = Stats {
        totals: [(web.clone(), COUNTERS)].into(),
        edges: [
            ((source("front.service"), web.clone()), row(5)),
            ((Source::Other, web.clone()), row(4)),
            ((Source::Unknown, web.clone()), row(3)),
            ((source("unknown"), web), row(2)),
        ]
        .into(),
        ..Stats::default()
    };
    let mut text = String::new();
    traffic::write(&mut text, &stats).unwrap();
    let samples = samples(&text);
    for (name, workload, value) in [
        ("istio_tcp_connections_opened", "front.service", "5"),
        ("istio_tcp_connections_opened", "other", "4"),
        ("istio_tcp_connections_opened", "unknown", "5"),
        ("mesh_tcp_connect_attempts", "unknown", "9"),
        ("mesh_tcp_connect_attempts", "other", "0"),
    ] {
        let label = format!("source_workload=\"{workload}\"");
        let found =
            samples.iter().find(|(series, _)| series.starts_with(name) && series.contains(&label));
        assert_eq!(found.map(|(_, value)| *value), Some(value), "{name} {label}: {text}");
    }
}

#[test]
fn what_is_not_settled_is_not_told() {
    let web = Account::of_service("shop/web".parse().unwrap());
    let edges = [((Source::Unknown, web), Row { counters: COUNTERS, ..Row::default() })].into();
    let stats = Stats { edges, ..Stats::default() };
    assert_eq!(super::connections(&stats).unwrap(), "");
    let stats = Stats { settled: true, ..stats };
    let text = super::connections(&stats).unwrap();
    assert!(text.contains("destination_service_name=\"web\""), "{text}");
}
