//! Reports in order, out of order, twice and never; agents and control planes that start anew.

mod model;

use std::time::{Duration, Instant};

use super::{Collector, FORGOTTEN, Limits, Outcome, Report, Taken, moves};
use crate::telemetry::counts::Counts;
use crate::telemetry::edge::Edge;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits { nodes: 4, edge_bytes: 1 << 20 };

fn edge(workload: &str) -> Edge {
    Edge { source_workload: workload.to_owned(), service: "web".to_owned(), ..Edge::default() }
}

fn opened(count: u64) -> Counts {
    Counts { opened: count, ..Counts::default() }
}

/// Edges are (client's workload, connections opened).
fn report(run: &str, sequence: u64, full: bool, edges: &[(&str, u64)]) -> Report {
    Report {
        node: "n1".to_owned(),
        run: run.to_owned(),
        sequence,
        full,
        edges: edges.iter().map(|(name, count)| (edge(name), opened(*count))).collect(),
        omitted: 0,
        interval: SECOND,
        moves: Vec::new(),
        last_move: 0,
        anew: false,
    }
}

fn grown(taken: &Taken) -> u64 {
    taken.changes.iter().map(|change| change.growth.opened).sum()
}

fn total(collector: &Collector) -> u64 {
    collector.totals().map(|(_, _, counts)| counts.opened).sum()
}

/// Growth, whether all must be sent, total, resets.
fn take(collector: &mut Collector, report: Report, now: Instant) -> (u64, bool, u64, usize) {
    let taken = collector.take(report, now).unwrap();
    (grown(&taken), taken.send_all, total(collector), taken.resets)
}

#[test]
fn the_first_full_report_counts_into_totals_only() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    // A control plane that starts anew meets an agent in the middle of its run.
    assert_eq!(take(&mut it, report("a", 7, false, &[("x", 50)]), now), (0, true, 50, 0));
    assert_eq!(take(&mut it, report("a", 8, false, &[("y", 10)]), now), (0, true, 60, 0));
    assert!(it.attendance(now).known.is_empty());
    let all = report("a", 9, true, &[("x", 51), ("y", 10), ("z", 9)]);
    assert_eq!(take(&mut it, all, now), (1, false, 70, 0));
    assert_eq!(it.attendance(now).known.len(), 1);
    // From here on an edge that is new is new.
    assert_eq!(take(&mut it, report("a", 10, false, &[("new", 3)]), now), (3, false, 73, 0));
}

#[test]
fn a_report_that_is_lost_late_or_twice_counts_once() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[]), now);
    let second = report("a", 2, false, &[("x", 5)]);
    assert_eq!(take(&mut it, second.clone(), now), (5, false, 5, 0));
    assert_eq!(it.take(second, now).unwrap().outcome, Outcome::Repeated);
    assert_eq!(total(&it), 5);
    // 3 is missing: what 4 says is taken, the rest has to be said again.
    let late = report("a", 3, false, &[("x", 6), ("y", 1)]);
    let fourth = it.take(report("a", 4, false, &[("x", 7)]), now).unwrap();
    assert_eq!((fourth.outcome, grown(&fourth), fourth.send_all), (Outcome::Gap, 2, true));
    let late = it.take(late, now).unwrap();
    assert_eq!((late.outcome, grown(&late), late.send_all), (Outcome::Repeated, 0, true));
    let fifth = report("a", 5, false, &[("x", 8)]);
    assert_eq!(take(&mut it, fifth, now), (1, true, 8, 0));
    assert_eq!(take(&mut it, report("a", 6, true, &[("x", 8), ("y", 2)]), now), (2, false, 10, 0));
}

#[test]
fn totals_go_on_when_an_agent_starts_anew() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[("x", 5)]), now);
    assert_eq!(take(&mut it, report("b", 1, true, &[("x", 9), ("y", 2)]), now), (6, false, 11, 0));
    // What the old one had sent before it ended.
    let late = it.take(report("a", 2, false, &[("x", 7)]), now).unwrap();
    assert_eq!((late.outcome, grown(&late), total(&it)), (Outcome::Repeated, 0, 11));
    // The first report of the new one is lost.
    assert_eq!(take(&mut it, report("c", 2, false, &[("x", 10)]), now), (1, true, 12, 0));
}

#[test]
fn totals_that_fall_begin_anew() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[("x", 500), ("y", 5)]), now);
    assert_eq!(take(&mut it, report("b", 1, true, &[("x", 3), ("y", 6)]), now), (4, false, 9, 1));
}

fn folded(report: Report, last_move: u64, from: &[(&str, u64)]) -> Report {
    let fold = |(name, count): &(&str, u64)| {
        let (from, into) = (edge(name), edge("other"));
        moves::Move { from, into, counts: opened(*count) }
    };
    Report { last_move, moves: from.iter().map(fold).collect(), ..report }
}

#[test]
fn what_is_counted_on_another_edge_has_not_grown_there() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[("x", 5), ("other", 1)]), now);
    // Two more were counted on it before it went.
    let fold = folded(report("a", 2, false, &[("other", 8)]), 1, &[("x", 7)]);
    assert_eq!(take(&mut it, fold, now), (2, false, 8, 0));
    // The answer was lost, and the client has come back.
    let again = folded(report("a", 3, false, &[("x", 3), ("other", 9)]), 1, &[("x", 7)]);
    assert_eq!(take(&mut it, again, now), (4, false, 12, 0));
    // Of another, nobody has heard.
    let unheard = folded(report("a", 4, false, &[("other", 13)]), 2, &[("x", 7), ("y", 4)]);
    assert_eq!(take(&mut it, unheard, now), (4, false, 16, 0));
    assert_eq!(it.size(), (1, 2));
    // Another control plane was told of the next.
    let missed = report("a", 5, false, &[("other", 16)]);
    let missed = folded(missed, 3, &[]);
    assert_eq!(take(&mut it, missed, now), (0, true, 19, 0));
    assert_eq!(
        take(&mut it, folded(report("a", 6, true, &[("other", 16)]), 3, &[]), now),
        (0, false, 16, 0)
    );
    assert_eq!(
        take(&mut it, folded(report("a", 7, false, &[("other", 17)]), 3, &[]), now),
        (1, false, 17, 0)
    );
    // The node has begun anew.
    assert_eq!(take(&mut it, report("b", 1, true, &[("other", 2)]), now), (0, false, 2, 0));
}

#[test]
fn a_total_that_was_corrected_alone_counts_nothing_again() {
    let counts = |opened, attempts| Counts { attempts, opened, ..Counts::default() };
    let (growth, fell) = counts(9, 51).since(&counts(10, 50));
    assert_eq!((growth, fell), (counts(0, 1), true));
    assert_eq!(counts(9, 5).since(&counts(10, 50)), (counts(9, 5), true));
}

#[test]
fn an_edge_that_is_gone_for_a_while_goes_on() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[("x", 5), ("y", 1)]), now);
    assert_eq!(take(&mut it, report("a", 2, true, &[("y", 1)]), now), (0, false, 1, 0));
    it.forget(now + FORGOTTEN / 2);
    assert_eq!(take(&mut it, report("a", 3, true, &[("x", 7)]), now), (2, false, 7, 0));
    assert_eq!(it.size(), (1, 2));
    take(&mut it, report("a", 4, true, &[("x", 7)]), now + FORGOTTEN);
    it.forget(now + FORGOTTEN);
    assert_eq!(it.size(), (1, 1), "y has been gone for long");
}

#[test]
fn nodes_are_late_then_forgotten_with_all_their_memory() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    take(&mut it, report("a", 1, true, &[("x", 5)]), now);
    assert!(it.late(now + 3 * SECOND).is_empty());
    assert_eq!(it.late(now + 4 * SECOND), ["n1"]);
    let attendance = it.attendance(now + 4 * SECOND);
    assert_eq!((attendance.known.len(), attendance.late.len()), (0, 1));
    it.forget(now + FORGOTTEN);
    assert_eq!((it.size(), it.bytes(), total(&it)), ((0, 0), 0, 0));
    // It is back, with what nobody knows when it was counted.
    assert_eq!(take(&mut it, report("a", 9, true, &[("x", 9)]), now), (0, false, 9, 0));
}

#[test]
fn a_node_that_reports_seldom_is_late_by_its_own_interval() {
    let (mut it, now) = (Collector::new(LIMITS), Instant::now());
    it.take(Report { interval: 5 * SECOND, ..report("a", 1, true, &[]) }, now).unwrap();
    assert!(it.late(now + 11 * SECOND).is_empty());
    assert_eq!(it.late(now + 12 * SECOND), ["n1"]);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let room = 10 * (edge("w00").memory() + 300);
    let (mut it, now) = (Collector::new(Limits { nodes: 1, edge_bytes: room }), Instant::now());
    let names: Vec<String> = (0..100).map(|i| format!("w{i:02}")).collect();
    let edges: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let full = Report { omitted: 7, ..report("a", 1, true, &edges) };
    it.take(full, now).unwrap();
    let (_, kept) = it.size();
    assert!((8..20).contains(&kept), "{kept}");
    assert!(it.bytes() <= room);
    assert_eq!(it.omitted(), 7 + 100 - u64::try_from(kept).unwrap());
    // One that gets room later is old: nobody knows when it was counted.
    let one = report("a", 2, true, &[("other", 50)]);
    assert_eq!(grown(&it.take(one, now).unwrap()), 0);
    it.forget(now + FORGOTTEN / 2);
    let second = Report { node: "n2".to_owned(), ..report("a", 1, true, &[]) };
    assert!(it.take(second, now).unwrap_err().to_string().contains("at most"));
}

#[test]
fn edges_that_there_was_no_room_for_are_asked_for_once_there_is() {
    let room = 10 * (edge("w00").memory() + 300);
    let (mut it, now) = (Collector::new(Limits { nodes: 2, edge_bytes: room }), Instant::now());
    let names: Vec<String> = (0..20).map(|i| format!("w{i:02}")).collect();
    let edges: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    take(&mut it, Report { node: "n2".to_owned(), ..report("a", 1, true, &edges) }, now);
    let few = [("a", 1), ("b", 1)];
    assert!(!it.take(report("a", 1, true, &few), now).unwrap().send_all);
    assert!(it.omitted() > 2);
    // The other node has gone.
    it.take(report("a", 2, false, &[]), now + FORGOTTEN).unwrap();
    it.forget(now + FORGOTTEN);
    let later = now + FORGOTTEN + SECOND;
    assert!(it.take(report("a", 3, false, &[]), later).unwrap().send_all);
    assert!(!it.take(report("a", 4, false, &[]), later + SECOND).unwrap().send_all);
    // It did not come.
    assert!(it.take(report("a", 5, false, &[]), later + 61 * SECOND).unwrap().send_all);
    let all = it.take(report("a", 6, true, &few), later + 62 * SECOND).unwrap();
    assert_eq!((all.send_all, grown(&all), it.omitted()), (false, 0, 0));
}
