//! The figures of a leg, and which promises they break.

use std::time::Duration;

use mesh_common::counter::BackendCounters;
use serde_json::{Value, json};

use super::Leg;
use crate::stats::float;
use crate::ui;

/// What happened.
#[derive(Debug)]
pub struct Report {
    pub(super) leg: Leg,
    pub(super) wanted: u64,
    pub(super) took: Duration,
    /// Segments that TCP of the client's namespace sent.
    pub(super) segments: u64,
    /// What the ends say.
    pub(super) figures: Value,
    /// What the programs counted for connections that nobody cut off.
    pub(super) counted: BackendCounters,
}

const COLUMNS: [(&str, &str); 8] = [
    ("conns", "connections"),
    ("cut", "connections_cut"),
    ("accel.", "accelerated"),
    ("redir.", "directions_redirected"),
    ("went over", "directions_that_went_over_to_tcp"),
    ("by TCP", "directions_by_tcp"),
    ("wrong", "mismatches"),
    ("stalls", "stalls"),
];

pub(super) fn head() {
    let columns = cells(COLUMNS.map(|(head, _)| head.to_owned()));
    ui::say(format!("{:<26}{columns}{:>10}{:>10}{:>8}", "", "MiB", "redir.MiB", "s"));
}

fn cells<const N: usize>(cells: [String; N]) -> String {
    cells.map(|cell| format!("{cell:>10}")).concat()
}

impl Report {
    fn figure(&self, name: &str) -> u64 {
        figure(&self.figures, name)
    }

    /// Whether the programs counted every byte of connections that nobody cut off, each way.
    pub(super) fn counted_right(figures: &Value, counted: &BackendCounters) -> bool {
        counted.bytes_sent == figure(figures, "bytes_up_without_cut")
            && counted.bytes_received == figure(figures, "bytes_down_without_cut")
    }

    /// Its line of the table.
    pub fn say(&self) {
        let columns = cells(COLUMNS.map(|(_, name)| self.figure(name).to_string()));
        let mib = |name| float(self.figure(name)) / f64::from(1 << 20);
        ui::say(format!(
            "{:<26}{columns}{:>10.0}{:>10.0}{:>8.1}",
            self.leg.name,
            mib("bytes"),
            mib("redirected_bytes"),
            self.took.as_secs_f64(),
        ));
    }

    /// The figures as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "leg": self.leg.name,
            "took_ms": self.took.as_millis(),
            "segments_sent_by_client": self.segments,
            "ends": self.figures,
            "counted_bytes_up": self.counted.bytes_sent,
            "counted_bytes_down": self.counted.bytes_received,
        })
    }

    /// What was not as promised.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                broken.push(format!("{}: {what}", self.leg.name));
            }
        };
        let made = self.figure("connections");
        promise(made == self.wanted, format!("{made} of {} connections", self.wanted));
        promise(self.figure("mismatches") == 0, format!("bytes are wrong: {}", self.figures));
        if self.leg.blocking {
            let times = self.figure("would_block");
            promise(times == 0, format!("a blocked reader was told EAGAIN {times} times"));
            return broken;
        }
        promise(self.figure("stalls") == 0, format!("stalls: {}", self.figures));
        promise(self.figure("miscounted") == 0, format!("pairs miscounted: {}", self.figures));
        promise(
            Self::counted_right(&self.figures, &self.counted),
            format!("other byte counts: {:?} but {}", self.counted, self.figures),
        );
        let accelerated = self.figure("accelerated_without_cut");
        let whole = made - self.figure("connections_cut");
        let expected = if self.leg.accelerated { whole } else { 0 };
        // Where the switch is off as a connection begins, it is none of acceleration's.
        promise(
            accelerated == expected || self.leg.switched,
            format!("{accelerated} of {expected} connections were accelerated"),
        );
        let over = self.figure("directions_that_went_over_to_tcp");
        let redirected = self.figure("directions_redirected");
        if self.leg.accelerated {
            promise(redirected > 0, "nothing was redirected to its end".to_owned());
        }
        if self.leg.switched {
            promise(over > 0, "no direction went over to TCP".to_owned());
        }
        broken
    }
}

fn figure(figures: &Value, name: &str) -> u64 {
    figures.get(name).and_then(Value::as_u64).unwrap_or(0)
}
