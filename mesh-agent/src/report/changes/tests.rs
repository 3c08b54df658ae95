//! Reports over a line that loses them, to a control plane that forgets.

use proptest::prelude::*;

use super::*;
use crate::ledger::MOVES;

fn edge(service: usize) -> Edge {
    Edge { service: format!("s{service}"), source_node: "n1".to_owned(), ..Edge::default() }
}

fn row(service: usize, opened: u64) -> (Edge, Traffic) {
    (edge(service), Traffic { opened, ..Traffic::default() })
}

fn rows(counts: &[u64]) -> Vec<(Edge, Traffic)> {
    let all = counts.iter().enumerate().map(|(service, opened)| row(service, *opened));
    all.filter(|(_, traffic)| *traffic != Traffic::default()).collect()
}

const SECOND: Duration = Duration::from_secs(1);

fn changes() -> Changes {
    Changes::new("n1".to_owned(), "a".to_owned(), MAX_EDGES)
}

fn said(edges: &[EdgeTraffic]) -> Vec<(Edge, Traffic)> {
    let row = |it: &EdgeTraffic| (it.edge.clone().unwrap(), it.traffic.clone().unwrap());
    edges.iter().map(row).collect()
}

#[test]
fn all_at_first_then_what_changes() {
    let mut changes = changes();
    let first = changes.next(rows(&[1, 2]), SECOND);
    assert!(first.full);
    assert_eq!((first.sequence, first.interval_ms), (1, 1000));
    assert_eq!((first.node.as_str(), first.run.as_str()), ("n1", "a"));
    assert_eq!(said(&first.edges), rows(&[1, 2]));
    assert!(!changes.answered(ReportTrafficResponse::default()));
    let second = changes.next(rows(&[1, 3, 1]), SECOND);
    assert!(!second.full);
    assert_eq!(said(&second.edges), [row(1, 3), row(2, 1)]);
    // Its answer does not arrive.
    changes.failed();
    let third = changes.next(rows(&[2, 3, 1]), SECOND);
    assert_eq!((third.sequence, third.full), (3, false));
    assert_eq!(said(&third.edges), rows(&[2, 3, 1]));
    let send_all = ReportTrafficResponse { send_all: true, interval_ms: 0 };
    assert!(changes.answered(send_all));
    let fourth = changes.next(rows(&[2, 3, 1]), SECOND);
    assert!(fourth.full);
    assert_eq!(said(&fourth.edges), rows(&[2, 3, 1]));
    // Who is not content with all is not flooded.
    assert!(!changes.answered(send_all));
    assert!(changes.next(rows(&[2, 3, 1]), SECOND).full);
    changes.answered(ReportTrafficResponse::default());
    assert!(said(&changes.next(rows(&[2, 3, 1]), SECOND).edges).is_empty());
    changes.answered(ReportTrafficResponse::default());
    changes.say_all();
    assert_eq!(said(&changes.next(rows(&[2, 3, 1]), SECOND).edges), rows(&[2, 3, 1]));
}

#[test]
fn what_has_no_place_is_counted_together() {
    let mut changes = Changes::new("n1".to_owned(), "a".to_owned(), 2);
    let cause = |count| vec![Cause { name: "refused".to_owned(), count }];
    let failing = |service, count| {
        let (failures, refusals) = (cause(count), cause(count));
        let traffic = Traffic { failed: count, failures, refusals, ..Traffic::default() };
        (edge(service), traffic)
    };
    let report = changes.next(vec![row(1, 1), failing(2, 1), failing(3, 2), failing(4, 5)], SECOND);
    assert_eq!((report.omitted, changes.placed()), (2, 2));
    let (other, sum) = said(&report.edges).pop().unwrap();
    assert_eq!((other.source_workload.as_str(), other.source_node.as_str()), ("other", "n1"));
    assert!(other.service.is_empty());
    assert_eq!((sum.failed, sum.failures, sum.refusals), (7, cause(7), cause(7)));
    changes.answered(ReportTrafficResponse::default());
    // Those with a place keep it, whatever comes before them.
    let report = changes.next(vec![row(0, 9), row(1, 2), failing(2, 1), failing(3, 2)], SECOND);
    assert_eq!(said(&report.edges)[0], row(1, 2));
    assert_eq!(report.omitted, 2);
}

#[test]
fn a_row_that_is_called_like_the_sum_is_in_the_sum() {
    let mut changes = Changes::new("n1".to_owned(), "a".to_owned(), 1);
    let traffic = Traffic { opened: 5, ..Traffic::default() };
    let rows = || vec![(other(&edge(0)), traffic.clone()), row(1, 1), row(2, 2)];
    let report = changes.next(rows(), SECOND);
    let sum = Traffic { opened: 7, ..Traffic::default() };
    assert_eq!(said(&report.edges), [row(1, 1), (other(&edge(0)), sum)]);
    assert_eq!(changes.omitted(), 1);
}

fn moved(from: usize, into: usize, opened: u64) -> Move {
    let traffic = Some(Traffic { opened, ..Traffic::default() });
    Move { from: Some(edge(from)), into: Some(edge(into)), traffic }
}

#[test]
fn a_move_is_said_until_it_is_answered_with_the_totals_of_both_ends() {
    let mut changes = Changes::new("n1".to_owned(), "a".to_owned(), 3);
    changes.next(vec![row(1, 5), row(2, 1), row(3, 1)], SECOND);
    changes.answered(ReportTrafficResponse::default());
    let one =
        Counted { rows: vec![row(2, 6), row(3, 1)], moves: vec![moved(1, 2, 5)], last_move: 1 };
    let report = changes.next(one.clone(), SECOND);
    assert_eq!((report.moves.len(), report.last_move), (1, 1));
    assert_eq!(said(&report.edges), [row(2, 6)]);
    changes.failed();
    // Meanwhile it has come back, and another has gone.
    let rows = vec![row(1, 2), row(2, 7)];
    let two = Counted { rows, moves: vec![moved(1, 2, 5), moved(3, 2, 1)], last_move: 2 };
    let report = changes.next(two.clone(), SECOND);
    assert_eq!((report.moves, report.last_move), (two.moves.clone(), 2));
    assert_eq!(said(&report.edges), two.rows);
    assert_eq!(changes.placed(), 2);
    changes.answered(ReportTrafficResponse::default());
    // Who keeps them has not heard yet.
    assert!(changes.next(two.clone(), SECOND).moves.is_empty());
    changes.answered(ReportTrafficResponse::default());
    // Two moves that nobody keeps any more, and one that somebody does.
    let later = Counted { moves: vec![moved(1, 2, 2)], last_move: 5, ..two };
    let report = changes.next(later, SECOND);
    assert_eq!((report.moves, report.last_move), (vec![moved(1, 2, 2)], 5));
}

#[test]
fn who_has_been_counted_together_stays_so_and_leaves_as_such() {
    let mut changes = Changes::new("n1".to_owned(), "a".to_owned(), 2);
    let report = changes.next(vec![row(1, 1), row(2, 2), row(3, 3)], SECOND);
    assert!(report.anew, "an earlier run may have counted others together");
    changes.answered(ReportTrafficResponse::default());
    let rows = vec![row(2, 3), row(3, 3), row(4, 4)];
    let report = changes.next(Counted { rows, moves: vec![moved(1, 2, 1)], last_move: 1 }, SECOND);
    // The new one had no place either: there was none when it came.
    assert_eq!((changes.placed(), changes.omitted()), (1, 2));
    assert_eq!(said(&report.edges), [row(2, 3), (other(&edge(4)), row(4, 7).1)]);
    changes.answered(ReportTrafficResponse::default());
    let rows = vec![row(2, 6), row(4, 4), row(5, 5)];
    let two = Counted { rows, moves: vec![moved(3, 2, 3)], last_move: 2 };
    let report = changes.next(two, SECOND);
    assert_eq!(report.moves[0].from, Some(other(&edge(3))));
    assert_eq!(said(&report.edges), [row(2, 6), row(5, 5), (other(&edge(4)), row(4, 4).1)]);
}

#[test]
fn a_report_is_never_larger_than_what_is_taken() {
    let mut changes = changes();
    let long = |at: usize| {
        let name = format!("{at:->250}");
        let [source_workload, namespace, service, version, workload] =
            std::array::from_fn(|_| name.clone());
        let edge = Edge { source_workload, namespace, service, version, workload, ..edge(at) };
        let cause = Cause { name: "unreachable".to_owned(), count: u64::MAX };
        let most = u64::MAX;
        let traffic = Traffic {
            attempts: most,
            opened: most,
            closed: most,
            failed: most,
            bytes_sent: most,
            bytes_received: most,
            retransmits: most,
            rtt_us: most,
            duration_us: most,
            failures: vec![cause; 4],
            ..Traffic::default()
        };
        (edge, traffic)
    };
    let moves = (0..MOVES).map(|at| Move {
        from: Some(long(at).0),
        into: Some(long(at + MOVES).0),
        traffic: Some(long(at).1),
    });
    let last_move = MOVES.try_into().unwrap();
    let rows = (MOVES..MAX_EDGES).map(long).collect();
    let report = changes.next(Counted { rows, moves: moves.collect(), last_move }, SECOND);
    assert!(report.edges.len() > 5_000, "{}", report.edges.len());
    assert!(report.encoded_len() <= 16 << 20, "{}", report.encoded_len());
    assert_eq!(changes.omitted(), u64::try_from(MAX_EDGES - MOVES - changes.placed()).unwrap());
}

/// What a control plane makes of reports.
#[derive(Default)]
struct Known {
    run: String,
    sequence: u64,
    rows: HashMap<Edge, Traffic>,
}

impl Known {
    fn take(&mut self, report: &ReportTrafficRequest) -> ReportTrafficResponse {
        let follows = self.run == report.run && report.sequence == self.sequence + 1;
        if !report.full && !follows {
            return ReportTrafficResponse { send_all: true, interval_ms: 0 };
        }
        if report.full {
            self.rows.clear();
        }
        self.rows.extend(said(&report.edges));
        self.run.clone_from(&report.run);
        self.sequence = report.sequence;
        ReportTrafficResponse::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Count(usize, u64),
    Report,
    /// It never arrives.
    Lost,
    /// It arrives, and its answer does not.
    AnswerLost,
    ControlPlaneStarts,
    AgentStarts,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..6, 1u64..100).prop_map(|(at, by)| Step::Count(at, by)),
        4 => Just(Step::Report),
        1 => Just(Step::Lost),
        1 => Just(Step::AnswerLost),
        1 => Just(Step::ControlPlaneStarts),
        1 => Just(Step::AgentStarts),
    ]
}

proptest! {
    #[test]
    fn in_the_end_every_total_is_known(steps in proptest::collection::vec(step(), 0..80)) {
        let mut counts = [0; 6];
        let (mut changes, mut known) = (changes(), Known::default());
        let mut starts = 0;
        for step in steps {
            match step {
                Step::Count(at, by) => counts[at] += by,
                Step::Report => {
                    let answer = known.take(&changes.next(rows(&counts), SECOND));
                    // Whoever has taken a report knows everything.
                    if !answer.send_all {
                        prop_assert_eq!(&known.rows, &rows(&counts).into_iter().collect());
                    }
                    changes.answered(answer);
                }
                Step::Lost => {
                    drop(changes.next(rows(&counts), SECOND));
                    changes.failed();
                }
                Step::AnswerLost => {
                    known.take(&changes.next(rows(&counts), SECOND));
                    changes.failed();
                }
                Step::ControlPlaneStarts => known = Known::default(),
                Step::AgentStarts => {
                    starts += 1;
                    changes = Changes::new("n1".to_owned(), format!("run{starts}"), MAX_EDGES);
                }
            }
        }
        for _ in 0..2 {
            let answer = known.take(&changes.next(rows(&counts), SECOND));
            changes.answered(answer);
        }
        prop_assert_eq!(known.rows, rows(&counts).into_iter().collect());
    }
}
