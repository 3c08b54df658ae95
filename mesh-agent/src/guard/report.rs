//! What the control plane is told: breakers that are not closed, and ejections.

use mesh_api::wire::{GuardReport, GuardState};
use mesh_common::backend::BackendIndex;

use super::directory::Directory;
use super::line::{cause, endpoint};
use super::states::{Phase, State};
use super::watch::{Standing, Watch};
use crate::health::report::Guards;
use crate::maps::kernel::affinity::monotonic;

/// The most that are told.
pub const MOST: usize = 1_000;

const NS_PER_MS: u64 = 1_000_000;

/// All of them, with times that the moment of telling needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reports {
    /// Newest first; the two times are those of the clock, in milliseconds: when it became so,
    /// and when it is over.
    entries: Vec<GuardReport>,
    /// Those left out.
    pub omitted: u64,
}

impl Reports {
    /// What is so now.
    #[must_use]
    pub fn of(directory: &Directory, watch: &Watch) -> Self {
        let mut loud: Vec<Standing> = watch.standing().filter(|it| !it.state.is_quiet()).collect();
        loud.sort_by_key(|it| std::cmp::Reverse(it.at_ns));
        let omitted = u64::try_from(loud.len().saturating_sub(MOST)).unwrap_or(u64::MAX);
        loud.truncate(MOST);
        let entries = loud.iter().filter_map(|standing| entry(directory, standing));
        Self { entries: entries.collect(), omitted }
    }

    /// The same, as of a moment of `CLOCK_MONOTONIC`, milliseconds.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> Vec<GuardReport> {
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            entry.since_ms = now_ms.saturating_sub(entry.since_ms);
            entry.remaining_ms = entry.remaining_ms.saturating_sub(now_ms);
        }
        entries
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Guards for Reports {
    fn now(&self) -> (Vec<GuardReport>, u64) {
        let now_ms = monotonic().unwrap_or_default().as_millis();
        (self.at(u64::try_from(now_ms).unwrap_or(u64::MAX)), self.omitted)
    }
}

fn entry(directory: &Directory, standing: &Standing) -> Option<GuardReport> {
    let Standing { key, state, word, at_ns, source } = *standing;
    let service = directory.find(key.service)?;
    let thresholds = match key.backend {
        BackendIndex::NONE => &service.policy.service,
        _ => &service.policy.backend,
    };
    let (state, since_ms, until_ms) = match state {
        State::Breaker { phase: Phase::Closed, .. } | State::Outlier { ejected: false, .. } => {
            return None;
        }
        State::Breaker { phase: Phase::Open, since_ms, .. } => {
            let until = since_ms.saturating_add(thresholds.reset_ms.into());
            (GuardState::Open, since_ms, until)
        }
        State::Breaker { phase: Phase::HalfOpen, since_ms, .. } => {
            (GuardState::HalfOpen, since_ms, 0)
        }
        State::Outlier { ejected: true, time_ms, .. } => {
            (GuardState::Ejected, at_ns / NS_PER_MS, time_ms)
        }
    };
    Some(GuardReport {
        namespace: service.name.namespace.to_string(),
        service: service.name.name.to_string(),
        port: service.port.into(),
        endpoint: endpoint(service, key.backend).unwrap_or_default(),
        state: state.into(),
        cause: cause(service, key, word, source),
        since_ms,
        remaining_ms: until_ms,
    })
}
