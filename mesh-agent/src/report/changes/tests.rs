//! Reports over a line that loses them, to a control plane that forgets.

use proptest::prelude::*;

use super::*;

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

fn said(report: &ReportTrafficRequest) -> Vec<(Edge, Traffic)> {
    let row = |it: &EdgeTraffic| (it.edge.clone().unwrap(), it.traffic.clone().unwrap());
    report.edges.iter().map(row).collect()
}

#[test]
fn all_at_first_then_what_changes() {
    let mut changes = changes();
    let first = changes.next(rows(&[1, 2]), SECOND);
    assert!(first.full);
    assert_eq!((first.sequence, first.interval_ms), (1, 1000));
    assert_eq!((first.node.as_str(), first.run.as_str()), ("n1", "a"));
    assert_eq!(said(&first), rows(&[1, 2]));
    assert!(!changes.answered(ReportTrafficResponse::default()));
    let second = changes.next(rows(&[1, 3, 1]), SECOND);
    assert!(!second.full);
    assert_eq!(said(&second), [row(1, 3), row(2, 1)]);
    // Its answer does not arrive.
    changes.failed();
    let third = changes.next(rows(&[2, 3, 1]), SECOND);
    assert_eq!((third.sequence, third.full), (3, false));
    assert_eq!(said(&third), rows(&[2, 3, 1]));
    let send_all = ReportTrafficResponse { send_all: true, interval_ms: 0 };
    assert!(changes.answered(send_all));
    let fourth = changes.next(rows(&[2, 3, 1]), SECOND);
    assert!(fourth.full);
    assert_eq!(said(&fourth), rows(&[2, 3, 1]));
    // Who is not content with all is not flooded.
    assert!(!changes.answered(send_all));
    assert!(changes.next(rows(&[2, 3, 1]), SECOND).full);
    changes.answered(ReportTrafficResponse::default());
    assert!(said(&changes.next(rows(&[2, 3, 1]), SECOND)).is_empty());
    changes.answered(ReportTrafficResponse::default());
    changes.say_all();
    assert_eq!(said(&changes.next(rows(&[2, 3, 1]), SECOND)), rows(&[2, 3, 1]));
}

#[test]
fn what_has_no_place_is_counted_together() {
    let mut changes = Changes::new("n1".to_owned(), "a".to_owned(), 2);
    let cause = |count| vec![Cause { name: "refused".to_owned(), count }];
    let failing = |service, count| {
        let traffic = Traffic { failed: count, failures: cause(count), ..Traffic::default() };
        (edge(service), traffic)
    };
    let report = changes.next(vec![row(1, 1), failing(2, 1), failing(3, 2), failing(4, 5)], SECOND);
    assert_eq!((report.omitted, changes.placed()), (2, 2));
    let (other, sum) = said(&report).pop().unwrap();
    assert_eq!((other.source_workload.as_str(), other.source_node.as_str()), ("other", "n1"));
    assert!(other.service.is_empty());
    assert_eq!((sum.failed, sum.failures), (7, cause(7)));
    changes.answered(ReportTrafficResponse::default());
    // Those with a place keep it, whatever comes before them.
    let report = changes.next(vec![row(0, 9), row(1, 2), failing(2, 1), failing(3, 2)], SECOND);
    assert_eq!(said(&report)[0], row(1, 2));
    assert_eq!(report.omitted, 2);
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
        self.rows.extend(said(report));
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
