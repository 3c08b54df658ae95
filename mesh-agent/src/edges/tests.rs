//! All rows of an account come to its total, and none falls.

use std::collections::BTreeMap;

use mesh_common::counter::BackendCounters;
use mesh_common::edge::EdgeCounters;
use proptest::prelude::*;

use super::{Edges, Rest, Rows, Source};
use crate::ledger::{Account, Totals};
use crate::testing::{label, name};

fn account(version: &str) -> Account {
    Account { version: Some(label(version)), ..Account::of_service(name("web")) }
}

fn totals(of: &[(&str, u64)]) -> Totals {
    let counters = |opened| BackendCounters { attempts: 99, opened, ..Default::default() };
    of.iter().map(|(version, opened)| (account(version), counters(*opened))).collect()
}

fn edges(of: &[(&str, u64)]) -> Edges {
    let key = |version| (Source::Workload(label("client")), account(version));
    let counters = |opened| EdgeCounters { opened, ..EdgeCounters::default() };
    of.iter().map(|(version, opened)| (key(version), counters(*opened))).collect()
}

fn opened(rows: &Rows, source: &Source, version: &str) -> Option<u64> {
    rows.get(&(source.clone(), account(version))).map(|row| row.counters.opened)
}

fn sum(rows: &Rows) -> u64 {
    rows.values().map(|row| row.counters.opened).sum()
}

#[test]
fn the_rest_is_unknown_and_an_unused_account_has_a_row() {
    let whole = totals(&[("v1", 10), ("v2", 0), ("v3", 4)]);
    let rows = Rest::default().rows(&whole, &edges(&[("v1", 7), ("v3", 4)]), &whole);
    assert_eq!(opened(&rows, &Source::Workload(label("client")), "v1"), Some(7));
    assert_eq!(opened(&rows, &Source::Unknown, "v1"), Some(3));
    assert_eq!(opened(&rows, &Source::Unknown, "v2"), Some(0));
    assert_eq!(opened(&rows, &Source::Unknown, "v3"), None);
    assert_eq!(rows.len(), 4);
    assert!(rows.values().all(|row| row.counters.attempts == 0));
}

#[test]
fn failures_and_lives_are_told_apart_from_what_is_not_known() {
    let whole = Totals::from([(
        account("v1"),
        BackendCounters { failed: 9, closed: 5, ..BackendCounters::default() },
    )]);
    let key = (Source::Workload(label("client")), account("v1"));
    let counters =
        EdgeCounters { failed: [1, 2, 3, 0], closed: 4, duration_us: 70, ..EdgeCounters::ZERO };
    let rows = Rest::default().rows(&whole, &Edges::from([(key.clone(), counters)]), &whole);
    let (known, rest) = (rows[&key], rows[&(Source::Unknown, account("v1"))]);
    assert_eq!((known.failures, known.timed, known.duration_us), ([1, 2, 3, 0], 4, 70));
    assert_eq!((rest.failures, rest.timed, rest.duration_us), ([3, 0, 0, 0], 0, 0));
    assert_eq!((known.counters.failed, rest.counters.failed, rest.counters.closed), (6, 3, 1));
}

#[test]
fn udp_flows_have_a_client_and_no_time() {
    let flows = Account { udp: true, ..account("v1") };
    let total = BackendCounters { opened: 5, closed: 4, ..BackendCounters::default() };
    let whole = Totals::from([(flows.clone(), total)]);
    let key = (Source::Workload(label("client")), flows.clone());
    let counters = EdgeCounters { opened: 4, closed: 4, ..EdgeCounters::ZERO };
    let rows = Rest::default().rows(&whole, &Edges::from([(key.clone(), counters)]), &whole);
    let known = rows[&key];
    assert_eq!((known.counters.opened, known.counters.closed, known.timed), (4, 4, 0));
    let rest = rows[&(Source::Unknown, flows)].counters;
    assert_eq!((rest.opened, rest.closed), (1, 0));
}

#[test]
fn what_one_version_lacks_is_taken_from_another() {
    let whole = totals(&[("v1", 10), ("v2", 5)]);
    let mut rest = Rest::default();
    let rows = rest.rows(&whole, &edges(&[("v1", 8), ("v2", 6)]), &whole);
    assert_eq!(sum(&rows), 15);
    assert_eq!(opened(&rows, &Source::Unknown, "v1"), Some(1));
    assert_eq!(opened(&rows, &Source::Unknown, "v2"), None);
}

#[test]
fn what_was_told_as_nobodys_does_not_fall_when_the_agent_is_killed() {
    let mut rest = Rest::default();
    // One has been counted of its backend and of no client yet.
    let parts = edges(&[("v1", 7)]);
    let rows = rest.rows(&totals(&[("v1", 10)]), &parts, &totals(&[("v1", 10)]));
    assert_eq!(opened(&rows, &Source::Unknown, "v1"), Some(3));
    let kept = rest.news(&BTreeMap::new(), &parts).into_iter().collect();
    // It gets its client, and others are counted while the next agent reads.
    let (before, after) = (totals(&[("v1", 10)]), totals(&[("v1", 12)]));
    let rows = Rest::kept(&kept).rows(&before, &edges(&[("v1", 8)]), &after);
    assert_eq!(opened(&rows, &Source::Unknown, "v1"), Some(3));
    assert_eq!(rest.news(&kept, &parts), []);
    // Of whom no client is counted, it cannot fall.
    let mut rest = Rest::default();
    rest.rows(&totals(&[("v1", 10)]), &Edges::new(), &totals(&[("v1", 10)]));
    assert_eq!(rest.news(&BTreeMap::new(), &Edges::new()), []);
}

proptest! {
    /// Connections that are counted by client, connections that are not, and moments at which the
    /// agent reads: before, between and after, more of both are counted.
    #[test]
    fn no_row_falls_and_the_sum_is_the_total_where_nothing_goes_on(
        rounds in prop::collection::vec((0..5u64, 0..5u64, 0..3u64, 0..3u64, any::<bool>()), 1..30)
    ) {
        let (mut known, mut rest) = (0, 0);
        let mut told = Rest::default();
        let mut before = Rows::new();
        for (more, most, also, later, quiet) in rounds {
            known += more;
            rest += also;
            let first = totals(&[("v1", known + rest)]);
            if !quiet {
                known += most;
            }
            let edges = edges(&[("v1", known)]);
            if !quiet {
                known += later;
                rest += also;
            }
            let second = totals(&[("v1", known + rest)]);
            let rows = told.rows(&first, &edges, &second);
            if quiet {
                prop_assert_eq!(sum(&rows), known + rest);
            }
            prop_assert!(sum(&rows) <= known + rest);
            for (key, row) in &before {
                let now = rows.get(key).map_or(0, |row| row.counters.opened);
                prop_assert!(now >= row.counters.opened, "{key:?} falls");
            }
            before = rows;
        }
    }
}
