//! The figures of one row, which of its promises are broken, and the table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Scenario;
use super::fault::Fault;
use super::row::Times;
use crate::stats::millis;
use crate::tap::Tap;
use crate::traffic::Outcome;
use crate::ui;

/// What happened.
#[derive(Debug)]
pub struct Report {
    scenario: Scenario,
    /// Connections from the fault until the victims were back, and those of them that failed.
    made: u64,
    failed: BTreeMap<String, u64>,
    /// Connections that failed before the victims were kept away.
    failed_before: u64,
    /// Connections sent to victims before they were kept away and not answered, and when the last
    /// was sent.
    sent_before: u64,
    last_sent_ns: u64,
    /// Connections made while they were kept away, and those of them that reached one.
    kept_away: u64,
    sent_meanwhile: u64,
    /// Connections that tried them in between and were not answered.
    trials: u64,
    broken_for_ns: u64,
    return_ns: u64,
}

impl Report {
    /// Puts together what clients and victims have seen.
    pub(super) fn new(
        scenario: Scenario,
        times: &Times,
        outcome: &Outcome,
        victims: &[String],
        taps: &mut [Tap],
    ) -> anyhow::Result<Self> {
        let Times { broken_ns, windows, mended_ns } = times;
        let (broken_ns, mended_ns) = (*broken_ns, *mended_ns);
        let mut sent = |from, to| -> anyhow::Result<u64> {
            taps.iter_mut().map(|tap| tap.connections(from, to)).sum()
        };
        let (mut kept_away, mut sent_meanwhile, mut first) = (0, 0, mended_ns);
        for window in windows {
            let from = window.settled_ns(outcome);
            if from < window.to_ns {
                first = first.min(from);
                kept_away += outcome.between(from, window.to_ns).total();
                sent_meanwhile += sent(from, window.to_ns)?;
            }
        }
        let at_first = outcome.between(broken_ns, first);
        let answered: u64 = victims.iter().map(|victim| at_first.answered_by(victim)).sum();
        let sent_before = sent(broken_ns, first)?.saturating_sub(answered);
        let later = outcome.between(first, mended_ns);
        let answered: u64 = victims.iter().map(|victim| later.answered_by(victim)).sum();
        let trials = (sent(first, mended_ns)? - sent_meanwhile).saturating_sub(answered);
        let last = taps.iter_mut().map(|tap| {
            let syns = tap.syns()?.iter().filter(|syn| syn.first && syn.at_ns < first);
            Ok(syns.map(|syn| syn.at_ns).max().unwrap_or(broken_ns))
        });
        let last: Vec<u64> = last.collect::<anyhow::Result<_>>()?;
        let back = victims.iter().map(|victim| {
            let answers = outcome.records.iter().filter(|record| record.start_ns >= mended_ns);
            let own = answers.filter(|it| it.outcome.as_deref().is_ok_and(|name| name == victim));
            own.map(|record| record.start_ns).min().unwrap_or(u64::MAX)
        });
        let back = back.max().unwrap_or(u64::MAX);
        let all = outcome.between(broken_ns, back);
        let failures = all.failures();
        Ok(Self {
            scenario,
            made: all.total(),
            failed: failures.into_iter().map(|(word, count)| (word.to_owned(), count)).collect(),
            failed_before: at_first.failed(),
            sent_before,
            last_sent_ns: last.into_iter().max().unwrap_or(broken_ns).saturating_sub(broken_ns),
            kept_away,
            sent_meanwhile,
            trials,
            broken_for_ns: mended_ns - broken_ns,
            return_ns: back.saturating_sub(mended_ns),
        })
    }

    fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Its line of the table.
    pub(super) fn say(&self) {
        let reached = format!("{} of {}", self.sent_meanwhile, self.kept_away);
        ui::say(format!(
            "{:<22} {:<18} {:>8} {:>8} {:>8} {:>9.1} {:>14} {:>7} {:>9.0}",
            self.scenario.name,
            self.scenario.keeper.name(),
            self.made,
            self.failures(),
            self.sent_before,
            millis(self.last_sent_ns),
            reached,
            self.trials,
            millis(self.return_ns),
        ));
    }

    /// The figures as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "fault": self.scenario.name,
            "backends_broken": self.scenario.victims,
            "kept_away_by": self.scenario.keeper.name(),
            "connections": self.made,
            "failed": self.failures(),
            "failed_by_error": self.failed,
            "failed_before_threshold": self.failed_before,
            "sent_before_threshold": self.sent_before,
            "last_sent_ms": millis(self.last_sent_ns),
            "connections_after_threshold": self.kept_away,
            "sent_after_threshold": self.sent_meanwhile,
            "trials": self.trials,
            "broken_for_ms": millis(self.broken_for_ns),
            "return_ms": millis(self.return_ns),
        })
    }

    /// What was not as promised.
    #[must_use]
    pub fn broken_promises(&self, connections: u64) -> Vec<String> {
        let name = self.scenario.name;
        let mut broken = Vec::new();
        if self.sent_before == 0 {
            broken.push(format!("{name}: nobody has met the fault"));
        }
        if self.sent_meanwhile > 0 {
            let (sent, of) = (self.sent_meanwhile, self.kept_away);
            broken.push(format!("{name}: {sent} of {of} went to a backend that was kept away"));
        }
        if self.kept_away < connections {
            broken.push(format!("{name}: only {} were made meanwhile", self.kept_away));
        }
        let each = self.scenario.keeper.trials(self.broken_for_ns / 1_000_000);
        let most = each.saturating_mul(self.scenario.victims.into());
        // One that flaps passes trials, and then gets whatever comes until it fails again.
        if self.trials > most && self.scenario.fault != Fault::Flapping {
            broken.push(format!("{name}: {} trials, at most {most} were due", self.trials));
        }
        broken
    }
}

pub(super) fn head() {
    ui::say(format!(
        "{:<22} {:<18} {:>8} {:>8} {:>8} {:>9} {:>14} {:>7} {:>9}",
        "fault",
        "kept away by",
        "made",
        "failed",
        "sent",
        "last, ms",
        "sent after",
        "trials",
        "back, ms"
    ));
}
