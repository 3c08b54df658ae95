//! What came out, as a table and as JSON, and which promises it breaks.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::account::{Account, Redirected};
use super::sockets::{self, Seen};
use super::world::Service;
use crate::stats::float;
use crate::ui;

/// No wait of an accelerated program may be longer.
const STALL_MS: f64 = 1_000.0;

/// Where others have more of the processors, waits are shown but not judged.
const CROWDED: f64 = 0.4;

/// What a program says itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// How much it did in a second.
    pub(super) rate: f64,
    /// Of what.
    pub(super) unit: &'static str,
    /// Its longest wait, where it says so.
    pub(super) longest_ms: Option<f64>,
    /// Bytes that went from client to server, where it says so, as exactly as it can.
    pub(super) sent: Option<RangeInclusive<u64>>,
    /// The same of the other direction.
    pub(super) received: Option<RangeInclusive<u64>>,
    /// What went wrong.
    pub(super) errors: Vec<String>,
}

impl Said {
    /// What it says when it could not do its work.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self { errors: vec![error.into()], ..Self::default() }
    }

    /// Whether the mesh has counted the same bytes.
    pub(super) fn agrees(&self, account: &Account) -> bool {
        [(&self.sent, account.sent), (&self.received, account.received)]
            .iter()
            .all(|(said, counted)| said.as_ref().is_none_or(|said| said.contains(counted)))
    }

    /// In a word, what was compared.
    fn bytes(&self) -> &'static str {
        let exact = |said: &Option<RangeInclusive<u64>>| {
            said.as_ref().map(|said| said.start() == said.end())
        };
        match (exact(&self.sent), exact(&self.received)) {
            (None, None) => "not said",
            (Some(false), _) | (_, Some(false)) => "bounds",
            _ => "exact",
        }
    }
}

/// A program's run, and the mesh's account of it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) service: Service,
    pub(super) said: Said,
    pub(super) took: Duration,
    pub(super) account: Account,
    pub(super) redirected: Redirected,
    pub(super) sockets: Seen,
    /// The share of all processors that others had meanwhile.
    pub(super) others: f64,
}

/// The same run through each service.
#[derive(Debug)]
struct Run {
    program: &'static str,
    case: String,
    /// Connections that must have been redirected, where the service is accelerated.
    least: u64,
    measured: Vec<Measured>,
}

/// All runs.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Run>);

impl Report {
    /// Prints the head of the table.
    pub(super) fn begin() -> Self {
        ui::say(format!(
            "{:<8} {:<34}{:<10}{:>12}{:>12} {:<6}{:>7}{:>15}{:>8}{:>11}{:>6}{:>8}  {}",
            "program",
            "run",
            "server",
            "off",
            "on",
            "",
            "on/off",
            "longest ms",
            "redir.",
            "redir.MiB",
            "left",
            "others",
            "bytes"
        ));
        Self::default()
    }

    /// Adds a run, and prints its line.
    pub(super) fn add(
        &mut self,
        program: &'static str,
        case: impl Into<String>,
        least: u64,
        measured: Vec<Measured>,
    ) {
        let run = Run { program, case: case.into(), least, measured };
        run.say();
        self.0.push(run);
    }

    /// How the programs' sockets were waited for.
    pub(super) fn say_sockets(&self) {
        let mut all = Seen::new();
        for measured in self.0.iter().flat_map(|run| &run.measured) {
            sockets::merge(&mut all, measured.sockets.clone());
        }
        ui::say("sockets of established connections, the most of a program at a time:");
        for (name, modes) in all {
            let (blocking, event_driven) = (modes.blocking, modes.event_driven);
            ui::say(format!("  {name:<16} O_NONBLOCK {event_driven:>4}, blocking {blocking:>4}"));
        }
    }

    /// On how many runs the machine was too busy to judge waits.
    pub(super) fn say_crowded(&self) {
        let measured = || self.0.iter().flat_map(|run| &run.measured);
        let crowded = measured().filter(|one| one.others > CROWDED).count();
        if crowded > 0 {
            ui::note(format!(
                "waits were not judged in {crowded} of {} runs: others had the processors",
                measured().count()
            ));
        }
    }

    pub(super) fn to_json(&self) -> Value {
        self.0.iter().map(Run::to_json).collect()
    }

    /// What was not as promised.
    pub(super) fn broken_promises(&self) -> Vec<String> {
        self.0.iter().flat_map(|run| run.measured.iter().flat_map(|one| run.broken(one))).collect()
    }
}

impl Run {
    fn say(&self) {
        let (Some(first), Some(last)) = (self.measured.first(), self.measured.last()) else {
            return;
        };
        let longest =
            |one: &Measured| one.said.longest_ms.map_or("-".into(), |ms| format!("{ms:.0}"));
        let longest = [first, last].map(longest).join(" / ");
        let redirected = &last.redirected;
        let bad: usize = self.measured.iter().map(|one| self.broken(one).len()).sum();
        ui::say(format!(
            "{:<8} {:<34}{:<10}{:>12.0}{:>12.0} {:<6}{:>7.2}{longest:>15}{:>8}{:>11.1}{:>6}{:>7.0}%  {}{}",
            self.program,
            self.case,
            first.service.server.name(),
            first.said.rate,
            last.said.rate,
            last.said.unit,
            last.said.rate / first.said.rate,
            redirected.connections,
            float(redirected.bytes) / f64::from(1 << 20),
            redirected.left,
            self.measured.iter().map(|one| one.others * 100.0).fold(0.0, f64::max),
            last.said.bytes(),
            if bad > 0 { "  BROKEN" } else { "" },
        ));
    }

    fn to_json(&self) -> Value {
        let measured = self.measured.iter().map(|one| {
            let sockets: Value = one.sockets.iter().map(|(name, modes)| {
                json!({ "program": name, "non_blocking": modes.event_driven, "blocking": modes.blocking })
            }).collect();
            let said = |range: &Option<RangeInclusive<u64>>| {
                range.as_ref().map(|range| [*range.start(), *range.end()])
            };
            json!({
                "acceleration": one.service.acceleration,
                "rate": one.said.rate,
                "longest_ms": one.said.longest_ms,
                "said_bytes_sent": said(&one.said.sent),
                "said_bytes_received": said(&one.said.received),
                "errors": one.said.errors,
                "share_of_processors_others_had": one.others,
                "took_ms": one.took.as_millis(),
                "counted": one.account.to_json(),
                "redirected": one.redirected.to_json(),
                "sockets": sockets,
            })
        });
        let (first, last) = (self.measured.first(), self.measured.last());
        json!({
            "program": self.program,
            "run": self.case,
            "server": first.map(|one| one.service.server.name()),
            "unit": last.map(|one| one.said.unit),
            "ratio": first.zip(last).map(|(first, last)| last.said.rate / first.said.rate),
            "measured": measured.collect::<Value>(),
        })
    }

    fn broken(&self, one: &Measured) -> Vec<String> {
        let mut broken = Vec::new();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                let (service, server) = (one.service.acceleration, one.service.server.name());
                broken
                    .push(format!("{}, {}, {server}, {service}: {what}", self.program, self.case));
            }
        };
        let Measured { said, account, redirected, .. } = one;
        promise(said.errors.is_empty(), said.errors.join("; "));
        promise(account.opened > 0, "no connection went through the mesh".to_owned());
        promise(
            account.opened == account.closed,
            format!("{} connections opened, {} closed", account.opened, account.closed),
        );
        promise(account.kept_out == 0, format!("{} sockets were kept out", account.kept_out));
        promise(
            said.agrees(account),
            format!("said {:?} and {:?}, counted {account:?}", said.sent, said.received),
        );
        if one.service.acceleration == "On" {
            let longest = said.longest_ms.unwrap_or(0.0);
            let wait = format!("a wait of {longest:.0} ms");
            promise(longest <= STALL_MS || one.others > CROWDED, wait);
            promise(
                redirected.connections >= self.least && redirected.bytes > 0,
                format!("{redirected:?}, wanted {} connections", self.least),
            );
        } else {
            promise(redirected.messages == 0, format!("not accelerated, but {redirected:?}"));
        }
        broken
    }
}
