//! Answers as the control plane gives them, and what becomes of them.

use std::time::Duration;

use clap::Parser as _;
use mesh_api::wire;

use super::{By, Column, Found, Row, Scope, ScopeArgs};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    scope: ScopeArgs,
}

/// A scope as typed.
pub(crate) fn scope(words: &[&str]) -> Scope {
    let words = ["test"].iter().chain(words);
    Scope::new(Line::try_parse_from(words).expect("parsed").scope).expect("a scope")
}

/// A service, with `opened` connections in 10 s, a quarter of which have ended, and `failed` ones.
pub(crate) fn row(namespace: &str, service: &str, opened: u64, failed: u64) -> wire::StatRow {
    let counted = |times: u64| wire::Traffic {
        attempts: times * (opened + failed),
        opened: times * opened,
        closed: times * opened / 4,
        failed: times * failed,
        bytes_sent: times * opened * 1024,
        bytes_received: times * opened * 10_240,
        retransmits: times * 2,
        rtt_us: times * (opened / 4) * 850,
        duration_us: times * (opened / 4) * 5000,
        refused: times * (failed / 2),
        passed: 0,
        failures: vec![wire::Cause { name: "timed_out".to_owned(), count: times * failed }],
        refusals: vec![wire::Cause {
            name: "breaker_open".to_owned(),
            count: times * (failed / 4),
        }],
    };
    wire::StatRow {
        edge: Some(wire::Edge {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            ..wire::Edge::default()
        }),
        total: Some(counted(10)),
        window: Some(counted(1)),
        window_ms: 10_000,
        open: opened * 10 - opened * 10 / 4,
    }
}

/// Three services, one of which has seen nothing.
pub(crate) fn answer() -> wire::StatResponse {
    wire::StatResponse {
        rows: vec![
            row("default", "ratings", 0, 0),
            row("default", "reviews", 40, 10),
            row("shop", "cart", 4000, 0),
        ],
        ..wire::StatResponse::default()
    }
}

fn names(sort: Column) -> Vec<String> {
    let found = Found::new(By::Service, sort, answer());
    found.rows.into_iter().map(|row| row.subject.service).collect()
}

#[test]
fn names_sort_upwards_and_numbers_downwards() {
    assert_eq!(names(Column::Name), ["ratings", "reviews", "cart"]);
    assert_eq!(names(Column::Conn), ["cart", "reviews", "ratings"]);
    // What is not known comes last.
    assert_eq!(names(Column::Failed), ["reviews", "cart", "ratings"]);
    assert_eq!(names(Column::Retrans), ["ratings", "reviews", "cart"]);
}

#[test]
fn numbers_are_shown_as_people_read_them() {
    let row = Row::from(row("default", "reviews", 40, 10));
    let cells = Column::ALL.map(|column| column.cell(&row));
    assert_eq!(cells, ["", "300", "4", "20", "0.5", "40KiB", "4KiB", "850µs", "2"]);
}

#[test]
fn what_cannot_be_divided_is_not_shown() {
    let nothing = wire::StatRow { window_ms: 0, ..row("default", "reviews", 0, 0) };
    let cells = Column::ALL.map(|column| column.cell(&Row::from(nothing.clone())));
    assert_eq!(cells, ["", "0", "", "", "", "", "", "", "2"]);
}

#[test]
fn an_edge_is_named_by_both_ends() {
    let subject = super::Subject {
        namespace: "shop".to_owned(),
        service: "cart".to_owned(),
        version: "v2".to_owned(),
        source_workload: "nginx.service".to_owned(),
        source_node: "a".to_owned(),
        ..super::Subject::default()
    };
    let names = By::ALL.map(|by| subject.name(by, true));
    assert_eq!(
        names,
        ["shop/cart", "nginx.service → shop/cart", "shop/cart v2", "shop/cart -", "a"]
    );
    assert_eq!(subject.name(By::Service, false), "cart");
    assert_eq!(subject.cells(By::Edge, true), ["shop", "nginx.service", "cart"]);
    assert_eq!(super::headings(By::Edge, true), ["NAMESPACE", "FROM", "SERVICE"]);
}

#[test]
fn what_is_late_or_missing_is_said() {
    let node = |n: u32| format!("node-{n}");
    let late = wire::StatResponse {
        stale_nodes: (1..8).map(node).collect(),
        series_omitted: 3,
        ..wire::StatResponse::default()
    };
    let remarks = Found::new(By::Service, Column::Name, late).remarks(&scope(&["reviews"]));
    assert!(remarks[0].starts_with("no traffic of service default/reviews is known yet: "));
    assert_eq!(
        remarks[1..],
        [
            "node-1, node-2, node-3, node-4, node-5 and 2 more are late to report: that part of \
             the numbers is old",
            "3 series are not shown apart: there was no room for them",
        ]
    );
}

#[test]
fn the_request_says_what_was_typed() {
    let scope = scope(&["edge/cart", "-n", "shop", "--from", "a.service", "--window", "1m"]);
    let every = Some(Duration::from_millis(500));
    assert_eq!(
        scope.request(every),
        wire::StatRequest {
            by: wire::GroupBy::Edge.into(),
            namespace: "shop".to_owned(),
            service: "cart".to_owned(),
            source_workload: "a.service".to_owned(),
            node: String::new(),
            window_ms: 60_000,
            reporter: wire::Reporter::Source.into(),
            every_ms: 500,
        }
    );
}
