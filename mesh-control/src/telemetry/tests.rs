//! Reports of nodes over simulated time, and what is said about them.

use std::time::{Duration, Instant};

use super::book::TrafficBook;
use super::collector::Report;
use super::config::TrafficConfig;
use super::counts::Counts;
use super::edge::{By, Edge, Select};
use super::metrics::TelemetryMetrics;
use super::query::Point;

const SECOND: Duration = Duration::from_secs(1);

/// A service or node with its total, and opened within how many seconds.
type Seen = (String, u64, Option<(u64, u64)>);

struct Sim {
    book: TrafficBook,
    start: Instant,
    sequence: u64,
}

impl Sim {
    fn new() -> Self {
        let start = Instant::now();
        let book = TrafficBook::new(TrafficConfig::default(), TelemetryMetrics::default(), start);
        Self { book, start, sequence: 0 }
    }

    fn at(&self, second: u32) -> Instant {
        self.start + SECOND * second
    }

    /// Edges are (service, connections opened). All reports are full.
    fn report(&mut self, second: u32, node: &str, edges: &[(&str, u64)]) {
        self.sequence += 1;
        let edges = edges.iter().map(|(service, opened)| {
            let edge = Edge {
                service: (*service).to_owned(),
                source_node: node.to_owned(),
                ..Edge::default()
            };
            (edge, Counts { opened: *opened, ..Counts::default() })
        });
        let report = Report {
            node: node.to_owned(),
            run: "r".to_owned(),
            sequence: self.sequence,
            full: true,
            edges: edges.collect(),
            omitted: 0,
            interval: SECOND,
            moves: Vec::new(),
            last_move: 0,
            anew: false,
        };
        let now = self.at(second) + SECOND / 2;
        assert!(!self.book.heard(report, now).unwrap());
    }

    fn stat(&self, by: By, window: u32, second: u32) -> Vec<Seen> {
        let select = Select { by, ..Select::default() };
        let stat = self.book.stat(&select, SECOND * window, self.at(second));
        let rows = stat.rows.into_iter().map(|row| {
            let name = row.subject.service + &row.subject.source_node;
            let window = row.window.map(|(counts, length)| (counts.opened, length.as_secs()));
            (name, row.total.opened, window)
        });
        rows.collect()
    }

    /// Opened in each of the last points, and whether it is all.
    fn points(&self, service: &str, range: u32, second: u32) -> Vec<Option<(u64, bool)>> {
        let select = Select { service: service.to_owned(), ..Select::default() };
        let plot = self.book.plot(&select, SECOND * range, 300, self.at(second)).unwrap();
        assert_eq!((plot.step, plot.since_end), (SECOND, Duration::ZERO));
        let [line] = plot.lines.as_slice() else { panic!("{:?}", plot.lines) };
        let point = |ago: u64| line.points.iter().find(|it| it.ago == ago);
        let value = |it: &Point| (it.counts.opened, !it.partial);
        (0..u64::from(range)).rev().map(|ago| point(ago).map(value)).collect()
    }
}

fn row(name: &str, total: u64, window: Option<(u64, u64)>) -> Seen {
    (name.to_owned(), total, window)
}

#[test]
fn rates_are_of_what_is_known() {
    let mut it = Sim::new();
    it.report(2, "n1", &[("web", 1_000)]);
    assert_eq!(it.stat(By::Service, 10, 2), [row("web", 1_000, None)]);
    it.report(3, "n1", &[("web", 1_007), ("db", 3)]);
    // The second that goes on is not counted yet, and the first report began only the totals.
    assert_eq!(
        it.stat(By::Service, 10, 3),
        [row("db", 3, Some((0, 1))), row("web", 1_007, Some((0, 1)))]
    );
    it.report(4, "n2", &[("web", 50)]);
    it.report(5, "n1", &[("web", 1_017), ("db", 3)]);
    it.report(5, "n2", &[("web", 52)]);
    assert_eq!(
        it.stat(By::Service, 10, 6),
        [row("db", 3, Some((3, 4))), row("web", 1_069, Some((19, 4)))]
    );
    assert_eq!(
        it.stat(By::Node, 10, 6),
        [row("n1", 1_020, Some((20, 4))), row("n2", 52, Some((2, 2)))]
    );
    assert_eq!(it.stat(By::Service, 1, 6)[1], row("web", 1_069, Some((12, 1))));
}

#[test]
fn a_node_that_is_away_leaves_unknown_points_and_is_named() {
    let mut it = Sim::new();
    for second in 0..20 {
        let count = u64::from(second);
        it.report(second, "n2", &[("web", count), ("only-n2", 2 * count)]);
        // Away from 5 to 14, while it goes on counting.
        if !(5..=14).contains(&second) {
            it.report(second, "n1", &[("web", 10 * count), ("only-n1", count)]);
        }
    }
    let stat = |second: u32| it.book.stat(&Select::default(), SECOND, it.at(second)).stale_nodes;
    assert!(stat(7).is_empty() && stat(20).is_empty());
    assert_eq!(it.stat(By::Service, 4, 20)[0], row("only-n1", 19, Some((4, 4))));
    // The window begins while it is away: what grew when it was back is of the whole time.
    assert_eq!(it.stat(By::Service, 10, 20)[0], row("only-n1", 19, Some((15, 10))));

    let points = it.points("only-n1", 20, 20);
    let expected = |second: u64| match second {
        0 | 5..=6 => Some((0, true)),
        7..=14 => None,
        15 => Some((11, true)),
        _ => Some((1, true)),
    };
    assert_eq!(points, (0..20).map(expected).collect::<Vec<_>>());
    let both = it.points("web", 20, 20);
    assert_eq!(
        (both[10], both[15], both[19]),
        (Some((1, false)), Some((111, true)), Some((11, true)))
    );
    let sum: u64 = both.iter().flatten().map(|(count, _)| count).sum();
    assert_eq!(sum, 10 * 19 + 19);
}

#[test]
fn a_long_window_is_of_longer_steps_and_the_same_numbers() {
    let mut it = Sim::new();
    for second in 0..2_000 {
        it.report(second, "n1", &[("web", 3 * u64::from(second))]);
    }
    for window in [900, 1_000, 1_990] {
        let (count, length) = it.stat(By::Service, window, 2_000)[0].2.unwrap();
        assert_eq!(count, 3 * length.min(1_999));
        assert_eq!(length, u64::from(window));
    }
}

#[test]
fn too_large_an_answer_says_what_to_do() {
    let mut it = Sim::new();
    let names: Vec<String> = (0..300).map(|i| format!("s{i}")).collect();
    let edges: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    it.report(0, "n1", &edges);
    it.book.tick(it.at(1));
    let plot = |points| it.book.plot(&Select::default(), SECOND * 900, points, it.at(900));
    let error = plot(900).unwrap_err().to_string();
    assert!(error.contains("name a namespace"), "{error}");
    assert_eq!(plot(200).unwrap().lines.len(), 300);
}
