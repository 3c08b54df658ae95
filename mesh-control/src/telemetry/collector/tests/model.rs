//! Any sequence of traffic, loss, delay, repetition, restarts of either side and loss of what a
//! node knows, against a model that counts with the applications.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{LIMITS, edge, opened};
use crate::telemetry::collector::moves::Move;
use crate::telemetry::collector::{Collector, Report};

const EDGES: usize = 4;
/// Runs that the collector tells apart.
const PAST_RUNS: u64 = 8;
const NAMES: [&str; EDGES] = ["a", "b", "c", "other"];
/// The last of them.
const OTHER: usize = EDGES - 1;
/// Moves that a node keeps for a control plane that has not answered.
const KEPT: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Connections are opened on an edge.
    Open(usize, u64),
    /// The agent sends a report, which is under way from now on.
    Send,
    /// One that is under way arrives; the flag: a copy of it stays under way, and the answer is lost.
    Arrive(usize, bool),
    /// One that is under way is lost.
    Lose(usize),
    /// The agent ends and starts again.
    RestartAgent,
    /// The node starts again: all is 0.
    RestartNode,
    /// The control plane starts again; what was on its way to it is lost.
    RestartControl,
    /// The node has no entry for an edge any more in its full reports, until it counts again.
    Hide(usize),
    /// An edge is counted as the last one from here on.
    Fold(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..EDGES, 1..20_u64).prop_map(|(edge, count)| Step::Open(edge, count)),
        4 => Just(Step::Send),
        4 => (0..8_usize, prop::bool::weighted(0.3)).prop_map(|(it, twice)| Step::Arrive(it, twice)),
        1 => (0..8_usize).prop_map(Step::Lose),
        1 => Just(Step::RestartAgent),
        1 => Just(Step::RestartNode),
        1 => Just(Step::RestartControl),
        1 => (0..EDGES).prop_map(Step::Hide),
        2 => (0..OTHER).prop_map(Step::Fold),
    ]
}

fn fold(from: usize, count: u64) -> Move {
    Move { from: edge(NAMES[from]), into: edge(NAMES[OTHER]), counts: opened(count) }
}

struct World {
    collector: Collector,
    now: Instant,
    /// What the node knows, and which edges it hides.
    totals: [u64; EDGES],
    hidden: [bool; EDGES],
    /// Moves, in order, that no answer has come for, and how many there have been.
    moves: Vec<(usize, u64)>,
    last_move: u64,
    /// What the agent has said in its last report.
    said: [u64; EDGES],
    run: u64,
    sequence: u64,
    must_send_all: bool,
    under_way: Vec<Report>,
    /// What was counted in all.
    counted: [u64; EDGES],
    /// What grew in all, since the control plane started.
    grown: [u64; EDGES],
    heard: bool,
}

impl World {
    fn new() -> Self {
        Self {
            collector: Collector::new(LIMITS),
            now: Instant::now(),
            totals: [0; EDGES],
            hidden: [false; EDGES],
            moves: Vec::new(),
            last_move: 0,
            said: [0; EDGES],
            run: 1,
            sequence: 0,
            must_send_all: true,
            under_way: Vec::new(),
            counted: [0; EDGES],
            grown: [0; EDGES],
            heard: false,
        }
    }

    fn report(&mut self) -> Report {
        self.sequence += 1;
        let full = self.must_send_all;
        let chosen = (0..EDGES).filter(|i| {
            let touched = self.moves.iter().any(|(from, _)| from == i || *i == OTHER);
            let news = full || touched || self.totals[*i] != self.said[*i];
            news && !self.hidden[*i] && self.totals[*i] > 0
        });
        let edges = chosen.map(|i| (edge(NAMES[i]), opened(self.totals[i]))).collect();
        self.said = self.totals;
        self.must_send_all = false;
        Report {
            node: "n1".to_owned(),
            run: self.run.to_string(),
            sequence: self.sequence,
            full,
            edges,
            omitted: 0,
            interval: Duration::from_secs(1),
            moves: self.moves.iter().map(|(from, count)| fold(*from, *count)).collect(),
            last_move: self.last_move,
            anew: false,
        }
    }

    fn restart_agent(&mut self) {
        // What a process that the control plane has never heard of has sent cannot be told from a
        // node that lost what it knew. It is on a connection that ended before the next began.
        let run = self.run.to_string();
        if !self.heard {
            self.under_way.retain(|it| it.run != run);
        }
        (self.run, self.sequence, self.must_send_all) = (self.run + 1, 0, true);
        // Nothing is under way for as long as it takes an agent to start so many times.
        let oldest = self.run.saturating_sub(PAST_RUNS);
        self.under_way.retain(|it| it.run.parse::<u64>().unwrap() > oldest);
        self.heard = false;
    }

    fn arrive(&mut self, report: Report, answered: bool) {
        self.now += Duration::from_millis(300);
        let current = report.run == self.run.to_string();
        let last_move = report.last_move;
        self.heard |= current;
        let taken = self.collector.take(report, self.now).unwrap();
        for change in &taken.changes {
            let name = &change.edge.source_workload;
            let index = NAMES.iter().position(|it| it == name).unwrap();
            self.grown[index] += change.growth.opened;
        }
        // The answer to an agent that has ended is lost.
        self.must_send_all |= current && (taken.send_all || !answered);
        if current && answered {
            let left = usize::try_from(self.last_move.saturating_sub(last_move)).unwrap();
            self.moves.drain(..self.moves.len().saturating_sub(left));
        }
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Open(edge, count) => {
                self.totals[edge] += count;
                self.counted[edge] += count;
                self.hidden[edge] = false;
            }
            Step::Send => {
                let report = self.report();
                self.under_way.push(report);
            }
            Step::Arrive(which, twice) if which < self.under_way.len() => {
                let report = self.under_way.remove(which);
                if twice {
                    self.under_way.push(report.clone());
                }
                self.arrive(report, !twice);
            }
            Step::Lose(which) if which < self.under_way.len() => {
                self.under_way.remove(which);
                // The agent gets no answer, so it sends all.
                self.must_send_all = true;
            }
            Step::RestartAgent => self.restart_agent(),
            Step::RestartNode => {
                self.restart_agent();
                (self.totals, self.hidden) = ([0; EDGES], [false; EDGES]);
                (self.moves, self.last_move) = (Vec::new(), 0);
            }
            Step::RestartControl => {
                self.collector = Collector::new(LIMITS);
                self.under_way.clear();
                (self.grown, self.heard) = ([0; EDGES], false);
            }
            Step::Hide(edge) => self.hidden[edge] = true,
            Step::Fold(from) if !self.hidden[from] && self.totals[from] > 0 => {
                let count = std::mem::take(&mut self.totals[from]);
                self.totals[OTHER] += count;
                self.hidden[OTHER] = false;
                self.moves.push((from, count));
                self.last_move += 1;
                if self.moves.len() > KEPT {
                    self.moves.remove(0);
                }
            }
            Step::Arrive(..) | Step::Lose(_) | Step::Fold(_) => {}
        }
        let (grown, counted): (u64, u64) = (self.grown.iter().sum(), self.counted.iter().sum());
        assert!(grown <= counted, "{grown} grew, {counted} was counted");
    }

    /// Everything arrives at last.
    fn settle(&mut self) {
        self.under_way.clear();
        for _ in 0..3 {
            self.must_send_all = true;
            let report = self.report();
            self.arrive(report, true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_counts_twice_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.go(step);
        }
        world.settle();
        let total = |name: &str| {
            let found = world.collector.totals().filter(|(_, it, _)| it.source_workload == name);
            found.map(|(_, _, counts)| counts.opened).sum::<u64>()
        };
        for (i, name) in NAMES.into_iter().enumerate() {
            let visible = if world.hidden[i] { 0 } else { world.totals[i] };
            prop_assert_eq!(total(name), visible);
        }
    }

    /// Where no node loses what it knows, growth is all that was counted since the first report.
    #[test]
    fn growth_is_all_that_was_counted(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.settle();
        for step in steps {
            // Nobody knows what has grown while moves are not known that nobody says any more.
            let forgets = matches!(step, Step::Fold(_)) && world.moves.len() == KEPT;
            if !forgets && !matches!(step, Step::RestartNode | Step::RestartControl | Step::Hide(_)) {
                world.go(step);
            }
        }
        world.settle();
        let sum = |of: &[u64]| of.iter().sum::<u64>();
        prop_assert_eq!(sum(&world.grown), sum(&world.counted));
    }
}
