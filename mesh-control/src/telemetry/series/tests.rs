//! Growth over time against a model that keeps all of it; series that there is no room for.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::codec::Reader;
use super::table::Limits;
use super::{SeriesBook, Steps};
use crate::telemetry::collector::{Attendance, Change, EdgeId, NodeId};
use crate::telemetry::counts::Counts;
use crate::telemetry::edge::{Edge, OTHER};

const LIMITS: Limits = Limits { series: 16, bytes: 1 << 20 };
const MEMORY: usize = 1 << 20;

fn change(id: u64, service: &str, opened: u64) -> Change {
    let edge = Edge { service: service.to_owned(), ..Edge::default() };
    let growth = Counts { opened, attempts: opened, ..Counts::default() };
    Change { id: EdgeId(id), edge: Arc::new(edge), growth }
}

fn known(nodes: &[u64]) -> Attendance {
    Attendance { known: nodes.iter().copied().map(NodeId).collect(), late: Vec::new() }
}

/// What was opened in each point, by edge.
fn opened(steps: &Steps) -> BTreeMap<(u64, u64), u64> {
    let mut sums = BTreeMap::new();
    for (step, record) in &steps.records {
        for (id, counts) in Reader::new(record).1 {
            *sums.entry((step / steps.group, id.0)).or_default() += counts.opened;
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the range and the number of points: each point has what was counted in its time,
    /// and nothing else is there.
    #[test]
    fn points_are_what_was_counted(
        growths in prop::collection::vec((0..40_u64, 1..9_u64, 1..100_u64), 1..150),
        range in 1..4_000_u64,
        most in 1..50_u64,
    ) {
        let mut book = SeriesBook::new(LIMITS, MEMORY);
        let mut model = Vec::new();
        for (wait, id, count) in growths {
            book.advance(book.open() + wait, &known(&[1]));
            book.grow(NodeId(1), &[change(id, "web", count)]);
            model.push((book.open(), id, count));
        }
        book.advance(book.open() + 1, &known(&[1]));
        let steps = book.steps(range, most);
        let seconds = steps.step * steps.group;
        prop_assert!(steps.points.end - steps.points.start <= most);
        prop_assert!(book.open() - steps.points.end * seconds < seconds);
        let expected = model.iter().fold(BTreeMap::new(), |mut sums, (second, id, count)| {
            if steps.points.contains(&(second / seconds)) {
                *sums.entry((second / seconds, *id)).or_default() += count;
            }
            sums
        });
        prop_assert_eq!(opened(&steps), expected);
    }
}

#[test]
fn the_farther_back_the_coarser() {
    let mut book = SeriesBook::new(LIMITS, MEMORY);
    for second in 1..=90_000 {
        book.advance(second, &known(&[1]));
    }
    let of = |range, most| {
        let steps = book.steps(range, most);
        (steps.step * steps.group, steps.points.end - steps.points.start, steps.records.len())
    };
    assert_eq!(of(10, u64::MAX), (1, 10, 10));
    assert_eq!(of(900, 300), (3, 300, 900));
    assert_eq!(of(901, 300), (10, 91, 91));
    assert_eq!(of(3_600, 300), (20, 180, 360));
    assert_eq!(of(86_400, 300), (360, 240, 720));
    let spans: Vec<u64> = book.logs().map(super::log::Log::span).collect();
    assert_eq!(spans, [900, 3_600, 86_400]);
}

#[test]
fn what_is_late_is_said_and_what_was_counted_is_known() {
    let mut book = SeriesBook::new(LIMITS, MEMORY);
    let late = Attendance { known: vec![NodeId(1)], late: vec![NodeId(2), NodeId(3)] };
    book.grow(NodeId(3), &[change(5, "web", 1)]);
    book.advance(1, &late);
    book.advance(60, &late);
    let said = |range, most| {
        let steps = book.steps(range, most);
        Reader::new(&steps.records[0].1).0
    };
    let counted = Attendance { known: vec![NodeId(1), NodeId(3)], late: vec![NodeId(2)] };
    assert_eq!(said(60, 60), counted);
    assert_eq!(said(901, 100), counted);
    assert_eq!(said(10, 10), late);
}

/// Services of the series, and what was opened in the last second.
fn series(book: &SeriesBook) -> BTreeMap<(String, String), u64> {
    let steps = book.steps(1, 1);
    let counts = opened(&steps);
    let named = book.table().iter().map(|(id, it)| {
        let count = counts.get(&(steps.points.start, id.0)).copied().unwrap_or(0);
        ((it.edge.service.clone(), it.edge.source_workload.clone()), count)
    });
    named.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_there_is_no_room_for_goes_to_other_and_the_idle_make_room() {
    let mut book = SeriesBook::new(LIMITS, MEMORY);
    for id in 1..=20 {
        book.grow(NodeId(1), &[change(id, if id <= 18 { "a" } else { "b" }, id)]);
    }
    for (id, service) in [(30, "c"), (31, "d")] {
        book.grow(NodeId(1), &[change(id, service, 100)]);
    }
    book.advance(1, &known(&[1]));
    let other = |service: &str| (service.to_owned(), OTHER.to_owned());
    let counted = series(&book);
    // Two services have an `other`, which is as many as there may be.
    assert_eq!((counted[&other("a")], counted[&other("b")]), (17 + 18, 19 + 20));
    assert_eq!(counted[&other(OTHER)], 200);
    assert_eq!((book.table().squeezed(), book.table().lost()), (6, (0, 6)));

    // All but three are idle; the oldest makes room.
    book.advance(500, &known(&[1]));
    book.grow(NodeId(1), &[change(1, "a", 1), change(2, "a", 1), change(3, "a", 1)]);
    book.advance(1_000, &known(&[1]));
    // One of the two `other` services takes a place as well.
    let mut news: Vec<Change> = (40..45).map(|id| change(id, "e", 7)).collect();
    news.push(change(1, "a", 9));
    book.grow(NodeId(1), &news);
    book.advance(1_001, &known(&[1]));
    assert_eq!(book.table().lost().0, 8);
    assert!([1, 2, 3, 40, 44].iter().all(|id| book.table().node(EdgeId(*id)).is_some()));
    assert_eq!(opened(&book.steps(1, 1)).values().sum::<u64>(), 5 * 7 + 9);
}

#[test]
fn memory_for_names_is_limited_too() {
    let names = 4_096;
    let mut book = SeriesBook::new(Limits { series: 1_000, bytes: names }, MEMORY);
    for id in 1..=200 {
        book.grow(NodeId(1), &[change(id, "a-service-with-quite-a-name", 1)]);
    }
    book.advance(1, &known(&[1]));
    assert!((5..30).contains(&book.table().len()), "{}", book.table().len());
    assert_eq!(opened(&book.steps(1, 1)).values().sum::<u64>(), 200);
}

#[test]
fn series_other_make_room_as_well_once_they_are_idle() {
    let mut book = SeriesBook::new(LIMITS, MEMORY);
    let first = (1..=20).map(|id| change(id, "a", id)).collect::<Vec<_>>();
    book.grow(NodeId(1), &first);
    book.advance(1_000, &known(&[1]));
    let is_other = |book: &SeriesBook, service: &str| {
        book.table()
            .iter()
            .any(|(_, it)| it.edge.source_workload == OTHER && it.edge.service == service)
    };
    assert!(is_other(&book, "a"));
    let news = (101..=116).map(|id| change(id, "b", 1)).collect::<Vec<_>>();
    book.grow(NodeId(1), &news);
    book.advance(1_001, &known(&[1]));
    assert!(!is_other(&book, "a"), "idle");
    // The next one is not mistaken for it.
    let more = (201..=204).map(|id| change(id, "c", 1)).collect::<Vec<_>>();
    book.grow(NodeId(1), &more);
    book.advance(1_002, &known(&[1]));
    assert_eq!(opened(&book.steps(1, 1)).values().sum::<u64>(), 4);
    let ids: std::collections::BTreeSet<_> = book.table().iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), book.table().len());
}
