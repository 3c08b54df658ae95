//! The figures of the torture, and which promises they break.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::reason::Reason;
use serde_json::{Value, json};

use super::load::{Outcomes, Stream};
use super::upgrade::Figures;
use crate::metrics::Metrics;
use crate::stats::float;
use crate::testbed::Testbed;
use crate::traffic::Outcome;
use crate::ui;
use crate::wait::eventually;

/// What the agent counts of connections and flows.
const COUNTERS: [&str; 3] = [
    "mesh_tcp_connect_attempts_total",
    "istio_tcp_connections_opened_total",
    "istio_tcp_connections_closed_total",
];
const FAILED: &str = "istio_tcp_connections_failed_total";

/// What happened.
#[derive(Debug)]
pub struct Report {
    took: Duration,
    figures: Figures,
    streams: Vec<StreamReport>,
    /// Counters that are not what the clients counted.
    wrong_counters: Vec<String>,
    compared_counters: usize,
    /// What the programs say they could not do, where counters are wrong.
    troubles: BTreeMap<String, f64>,
}

#[derive(Debug)]
struct StreamReport {
    stream: Stream,
    /// Connections or flows that were opened, by backend.
    opened: BTreeMap<String, u64>,
    exchanges: u64,
    failures: BTreeMap<String, u64>,
    /// Answers by a backend that the service, or its family, does not have.
    strangers: BTreeMap<String, u64>,
    /// Lasting sockets that were answered by more than one backend.
    moved: Vec<String>,
    slowest: Duration,
}

impl StreamReport {
    fn new(stream: Stream, outcomes: &[Outcome]) -> Self {
        let mut report = Self {
            stream,
            opened: BTreeMap::new(),
            exchanges: 0,
            failures: BTreeMap::new(),
            strangers: BTreeMap::new(),
            moved: Vec::new(),
            slowest: Duration::ZERO,
        };
        for outcome in outcomes {
            report.add(outcome);
        }
        report
    }

    fn add(&mut self, outcome: &Outcome) {
        self.exchanges += outcome.total();
        for record in &outcome.records {
            self.slowest = self.slowest.max(Duration::from_nanos(record.duration_ns));
            match &record.outcome {
                Err(error) => *self.failures.entry(error.clone()).or_default() += 1,
                Ok(name) if !self.stream.owns(name, record.target) => {
                    *self.strangers.entry(name.to_string()).or_default() += 1;
                }
                Ok(name) if !self.stream.lasting => {
                    *self.opened.entry(name.to_string()).or_default() += 1;
                }
                Ok(_) => {}
            }
        }
        if !self.stream.lasting {
            return;
        }
        for (flow, names) in outcome.names_by_flow() {
            if names.len() > 1 {
                self.moved.push(format!("{flow:?}: {names:?}"));
            }
            for name in names {
                *self.opened.entry(name.to_string()).or_default() += 1;
            }
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "service": self.stream.service,
            "mode": self.stream.mode.as_str(),
            "lasting": self.stream.lasting,
            "opened": self.opened.values().sum::<u64>(),
            "exchanges": self.exchanges,
            "failed": self.failures.values().sum::<u64>(),
            "wrong_backend": self.strangers.values().sum::<u64>(),
            "moved": self.moved.len(),
            "slowest_ms": self.slowest.as_secs_f64() * 1e3,
        })
    }
}

impl Report {
    /// Judges the outcomes and waits until the agent's counters have caught up with them, or
    /// do not within the usual patience.
    pub(super) fn new(
        bed: &Testbed,
        took: Duration,
        outcomes: Outcomes,
        figures: Figures,
    ) -> anyhow::Result<Self> {
        let streams: Vec<_> = outcomes
            .into_iter()
            .map(|(stream, outcomes)| StreamReport::new(stream, &outcomes))
            .collect();
        let mut wrong = Vec::new();
        let mut troubles = BTreeMap::new();
        let caught_up = eventually(|| {
            let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
            wrong = wrong_counters(&streams, &metrics);
            troubles = self::troubles(&metrics);
            if wrong.is_empty() { Ok(()) } else { Err("counters differ".to_owned()) }
        });
        if wrong.is_empty() {
            caught_up?;
        }
        let backends: usize = streams.iter().map(|stream| stream.opened.len()).sum();
        let compared_counters = backends * (COUNTERS.len() + 1);
        Ok(Self { took, figures, streams, wrong_counters: wrong, compared_counters, troubles })
    }

    /// The table.
    pub fn say(&self) {
        let Figures { restarts, kills, replacements, .. } = self.figures;
        ui::say(format!(
            "{:.0} s of load, {restarts} restarts, {kills} kills, {replacements} replacements; \
             without an agent for {:.1} s and {} exchanges; slowest start {:.2} s",
            self.took.as_secs_f64(),
            self.figures.without_agent.as_secs_f64(),
            self.figures.exchanges_without_agent,
            self.figures.slowest_start.as_secs_f64(),
        ));
        for stream in &self.streams {
            ui::say(format!(
                "{:<15} {:>7} opened {:>8} exchanges, {} failed, {} by a wrong backend, {} moved, \
                 slowest {:.1} ms",
                stream.stream.service,
                stream.opened.values().sum::<u64>(),
                stream.exchanges,
                stream.failures.values().sum::<u64>(),
                stream.strangers.values().sum::<u64>(),
                stream.moved.len(),
                stream.slowest.as_secs_f64() * 1e3,
            ));
        }
        ui::say(format!(
            "{} counters compared, {} differ",
            self.compared_counters,
            self.wrong_counters.len()
        ));
    }

    /// The figures as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let sum = |figure: fn(&StreamReport) -> u64| self.streams.iter().map(figure).sum::<u64>();
        json!({
            "seconds": self.took.as_secs_f64(),
            "restarts": self.figures.restarts,
            "kills": self.figures.kills,
            "replacements": self.figures.replacements,
            "seconds_without_agent": self.figures.without_agent.as_secs_f64(),
            "exchanges_without_agent": self.figures.exchanges_without_agent,
            "slowest_start_s": self.figures.slowest_start.as_secs_f64(),
            "exchanges": sum(|stream| stream.exchanges),
            "failed": sum(|stream| stream.failures.values().sum()),
            "wrong_backend": sum(|stream| stream.strangers.values().sum()),
            "counters_compared": self.compared_counters,
            "counters_wrong": self.wrong_counters,
            "streams": self.streams.iter().map(StreamReport::to_json).collect::<Vec<_>>(),
        })
    }

    /// What was not as promised.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for stream in &self.streams {
            let service = stream.stream.service;
            if !stream.failures.is_empty() {
                broken.push(format!("{service}: failed: {:?}", stream.failures));
            }
            if !stream.strangers.is_empty() {
                broken.push(format!("{service}: wrong backends: {:?}", stream.strangers));
            }
            if !stream.moved.is_empty() {
                broken.push(format!("{service}: sockets moved: {:?}", stream.moved));
            }
            if stream.opened.len() < 4 && !stream.stream.lasting {
                broken.push(format!("{service}: not all backends used: {:?}", stream.opened));
            }
        }
        broken.extend(self.wrong_counters.iter().cloned());
        if !self.wrong_counters.is_empty() {
            broken.push(format!("the programs say: {:?}", self.troubles));
        }
        broken
    }
}

/// Counters that differ from what the clients counted, each with both numbers.
fn wrong_counters(streams: &[StreamReport], metrics: &Metrics) -> Vec<String> {
    let mut wrong = Vec::new();
    for stream in streams {
        for (name, opened) in &stream.opened {
            let labels = [
                ("destination_service_name", stream.stream.service),
                ("destination_version", name),
            ];
            let expected = COUNTERS.map(|counter| (counter, *opened));
            for (counter, expected) in expected.into_iter().chain([(FAILED, 0)]) {
                let found = metrics.sum(counter, &labels);
                if (found - float(expected)).abs() > 0.5 {
                    wrong.push(format!("{counter} of {name}: {found} instead of {expected}"));
                }
            }
        }
    }
    wrong
}

/// What the programs say they could not do, by reason: where a counter is wrong, here is why.
fn troubles(metrics: &Metrics) -> BTreeMap<String, f64> {
    let reasons = Reason::NAMES.into_iter().filter(|(reason, _)| *reason != Reason::NOT_A_SERVICE);
    let count = |name: &str| metrics.sum("mesh_bpf_exits_total", &[("reason", name)]);
    let counted = reasons.map(|(_, name)| (name.to_owned(), count(name)));
    counted.filter(|(_, count)| *count > 0.0).collect()
}
