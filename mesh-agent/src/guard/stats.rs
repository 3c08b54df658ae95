//! The numbers about guards at one moment.

use std::collections::BTreeMap;

use mesh_api::model::{Name, ObjectName};
use mesh_common::logic::load;

use super::directory::Directory;
use super::line::{SERVICE, endpoint};
use super::repair::Repairs;
use super::states::{Phase, State};
use super::tally::{Port, Refused, Tally};
use super::watch::{Change, Watch};
use crate::maps::guards::{GuardStore, Word};

/// Breakers that are listed at most.
pub const MOST: usize = 1_000;

/// Changes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Breakers that opened.
    pub open: u64,
    /// Breakers that went half-open.
    pub half_open: u64,
    /// Breakers that closed.
    pub closed: u64,
    /// Ejections.
    pub ejections: u64,
}

impl Counts {
    /// Counts a change.
    pub const fn note(&mut self, change: &Change) {
        match change.after {
            State::Breaker { phase: Phase::Open, .. } => self.open += 1,
            State::Breaker { phase: Phase::HalfOpen, .. } => self.half_open += 1,
            State::Breaker { phase: Phase::Closed, .. } => self.closed += 1,
            State::Outlier { ejected: true, .. } => self.ejections += 1,
            State::Outlier { .. } => {}
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Breakers that are or were not closed, with the endpoint's name.
    pub breakers: BTreeMap<(Port, String), Phase>,
    /// Changes since the start.
    pub counts: Counts,
    /// Backends that are ejected.
    pub ejected: u64,
    /// Connections of each guarded service port, and those that are not established yet.
    pub loads: BTreeMap<Port, (u64, u64)>,
    /// Connections refused.
    pub refused: BTreeMap<Port, Refused>,
    /// Times an endpoint was asked for a place and had none.
    pub skipped: BTreeMap<(Port, Name), u64>,
    /// What got lost and was found.
    pub repairs: Repairs,
}

impl Stats {
    /// Puts the numbers together.
    #[must_use]
    pub fn of(
        directory: &Directory,
        watch: &Watch,
        tally: &Tally,
        counts: &Counts,
        store: &impl GuardStore,
    ) -> Self {
        let mut stats = Self {
            counts: *counts,
            refused: tally.refused.clone(),
            skipped: tally.skipped.clone(),
            ..Self::default()
        };
        for standing in watch.standing() {
            let Some(entry) = directory.find(standing.key.service) else { continue };
            let port: (ObjectName, u16) = (entry.name.clone(), entry.port);
            match standing.state {
                State::Breaker { phase, .. } if stats.breakers.len() < MOST => {
                    let backend = standing.key.backend;
                    let name = endpoint(entry, backend).unwrap_or_else(|| SERVICE.to_owned());
                    let known = stats.breakers.entry((port, name)).or_insert(phase);
                    // The kernel services of both address families have one name.
                    *known = worse(*known, phase);
                }
                State::Outlier { ejected: true, .. } => stats.ejected += 1,
                State::Breaker { .. } | State::Outlier { .. } => {}
            }
        }
        for entry in &directory.services {
            let word = store.read(Word::ServiceLoad(entry.index));
            let sum = stats.loads.entry((entry.name.clone(), entry.port)).or_default();
            sum.0 += u64::from(load::active(word));
            sum.1 += u64::from(load::pending(word));
        }
        stats
    }
}

const fn worse(one: Phase, other: Phase) -> Phase {
    match (one, other) {
        (Phase::Open, _) | (_, Phase::Open) => Phase::Open,
        (Phase::HalfOpen, _) | (_, Phase::HalfOpen) => Phase::HalfOpen,
        (Phase::Closed, Phase::Closed) => Phase::Closed,
    }
}
