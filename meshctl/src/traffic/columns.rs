//! The columns of numbers: what they are called, what they show, and what they sort by.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::Row;
use crate::output::units::{bytes, float, percent, rate};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Column {
    /// What the row is about.
    Name,
    /// Open connections.
    Open,
    /// Connections opened a second.
    Conn,
    /// Part of the connections that failed.
    Failed,
    /// Connects refused a second.
    Refused,
    /// Bytes received a second.
    In,
    /// Bytes sent a second.
    Out,
    /// Mean round-trip time.
    Rtt,
    /// Segments sent again.
    Retrans,
}

impl Column {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 9] = [
        Self::Name,
        Self::Open,
        Self::Conn,
        Self::Failed,
        Self::Refused,
        Self::In,
        Self::Out,
        Self::Rtt,
        Self::Retrans,
    ];

    /// Above the column.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Open => "OPEN",
            Self::Conn => "CONN/S",
            Self::Failed => "FAILED%",
            Self::Refused => "REFUSED/S",
            Self::In => "IN/S",
            Self::Out => "OUT/S",
            Self::Rtt => "RTT",
            Self::Retrans => "RETRANS",
        }
    }

    /// The number for people; empty where there is none.
    pub(crate) fn cell(self, row: &Row) -> String {
        let rates = &row.rates;
        let shown = match self {
            Self::Name => None,
            Self::Open => Some(row.open.to_string()),
            Self::Conn => rates.opened_per_second.map(rate),
            Self::Failed => rates.failed_percent.map(percent),
            Self::Refused => rates.refused_per_second.map(rate),
            Self::In => rates.bytes_received_per_second.map(bytes),
            Self::Out => rates.bytes_sent_per_second.map(bytes),
            Self::Rtt => rates.mean_rtt_us.map(micros),
            Self::Retrans => Some(row.window.retransmits.to_string()),
        };
        shown.unwrap_or_default()
    }

    /// Whether it is not as it should be.
    pub(crate) const fn is_bad(self, row: &Row) -> bool {
        match self {
            Self::Failed => row.window.failed > 0,
            Self::Refused => row.window.refused > 0,
            Self::Name
            | Self::Open
            | Self::Conn
            | Self::In
            | Self::Out
            | Self::Rtt
            | Self::Retrans => false,
        }
    }

    /// Names upwards, numbers downwards; rows that are equal by name.
    pub(crate) fn compare(self, a: &Row, b: &Row) -> Ordering {
        let number = match (self.number(a), self.number(b)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            // What is not known is less than 0.
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        number.then_with(|| a.subject.cmp(&b.subject))
    }

    const fn number(self, row: &Row) -> Option<f64> {
        let rates = &row.rates;
        match self {
            Self::Name => None,
            Self::Open => Some(float(row.open)),
            Self::Conn => rates.opened_per_second,
            Self::Failed => rates.failed_percent,
            Self::Refused => rates.refused_per_second,
            Self::In => rates.bytes_received_per_second,
            Self::Out => rates.bytes_sent_per_second,
            Self::Rtt => rates.mean_rtt_us,
            Self::Retrans => Some(float(row.window.retransmits)),
        }
    }
}

/// As in `85µs`, `12.3ms`, `1.2s`.
fn micros(us: f64) -> String {
    if us < 999.5 {
        format!("{us:.0}µs")
    } else if us < 99_950.0 {
        format!("{:.1}ms", us / 1e3)
    } else if us < 999_500.0 {
        format!("{:.0}ms", us / 1e3)
    } else {
        format!("{:.1}s", us / 1e6)
    }
}
