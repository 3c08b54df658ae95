//! What goes into the aggregation and what comes out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use mesh_api::model::{Health, Label, ObjectName};

use super::entry::Entry;
use super::judge::Source;

/// An endpoint that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: ObjectName,
    /// Its service.
    pub service: ObjectName,
    /// Where it is.
    pub address: IpAddr,
    /// The node it runs on.
    pub node: Option<Label>,
}

/// A change of a status that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub endpoint: ObjectName,
    /// Its service.
    pub service: ObjectName,
    /// `None`: unknown.
    pub from: Option<Health>,
    /// `None`: unknown.
    pub to: Option<Health>,
    /// Why.
    pub reason: String,
    /// Who says so; `None`: nobody.
    pub source: Option<Source>,
}

/// How many endpoints there are of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Published as healthy.
    pub healthy: usize,
    /// Published as unhealthy.
    pub unhealthy: usize,
    /// Checked, but nothing is known.
    pub unknown: usize,
    /// Changed too often.
    pub held: usize,
    /// With reports that say something else.
    pub conflicts: usize,
}

impl Counts {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.change(entry, |count| *count += 1);
    }

    pub(super) fn take_off(&mut self, entry: &Entry) {
        self.change(entry, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, entry: &Entry, change: impl Fn(&mut usize)) {
        match entry.status() {
            Some(Health::Healthy) => change(&mut self.healthy),
            Some(Health::Unhealthy) => change(&mut self.unhealthy),
            None => change(&mut self.unknown),
        }
        if entry.is_held() {
            change(&mut self.held);
        }
        if entry.has_conflicts() {
            change(&mut self.conflicts);
        }
    }
}

/// An agent that has reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Agent {
    /// When it is taken for gone; `None`: it is.
    pub(super) until: Option<Instant>,
    /// Endpoints that hold a report of it.
    pub(super) endpoints: BTreeSet<ObjectName>,
    /// Whether it must report everything again.
    pub(super) resend: bool,
}
