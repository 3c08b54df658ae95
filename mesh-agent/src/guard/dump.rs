//! What the programs keep about guards, as `mesh-agent dump` prints it: one line for each guarded
//! kernel service, and for each of its backends.

use std::fmt::Write as _;

use mesh_common::logic::load;
use mesh_common::service::ServiceFlags;

use super::line::millis;
use super::states::{Phase, State, What};
use crate::image::MapImage;
use crate::maps::guards::GuardStore;

/// The lines. `now_ms` is `CLOCK_MONOTONIC`.
#[must_use]
pub fn lines(image: &MapImage, store: &impl GuardStore, now_ms: u64) -> String {
    let mut text = String::new();
    let guarded = |index| image.services.at(index).flags.contains(ServiceFlags::GUARDED);
    // Writing to a string does not fail.
    for index in image.services.keys().filter(|index| guarded(*index)) {
        let guard = store.service(index);
        let counts = counts(guard.load, guard.breaker, now_ms);
        let ejected = guard.ejected;
        writeln!(text, "GUARD SERVICE={} {counts} EJECTED={ejected}", index.index)
            .unwrap_or_default();
    }
    for (index, backend) in image.backends.iter().filter(|(_, it)| guarded(it.service)) {
        let guard = store.backend(index);
        let counts = counts(guard.load, guard.breaker, now_ms);
        let outlier = match State::of(What::Outlier, guard.outlier) {
            State::Outlier { ejected: true, time_ms, .. } => {
                format!("{}-left", millis(time_ms.saturating_sub(now_ms)))
            }
            State::Outlier { .. } | State::Breaker { .. } => "no".to_owned(),
        };
        let (index, service) = (index.index, backend.service.index);
        writeln!(text, "GUARD BACKEND={index} SERVICE={service} {counts} EJECTED={outlier}")
            .unwrap_or_default();
    }
    text
}

fn counts(word: u64, breaker: u64, now_ms: u64) -> String {
    let phase = match State::of(What::Breaker, breaker) {
        State::Breaker { phase: Phase::Open, since_ms, .. } => {
            format!("open-for-{}", millis(now_ms.saturating_sub(since_ms)))
        }
        State::Breaker { phase: Phase::HalfOpen, .. } => "half-open".to_owned(),
        State::Breaker { phase: Phase::Closed, .. } | State::Outlier { .. } => "closed".to_owned(),
    };
    let (all, pending) = (load::active(word), load::pending(word));
    format!("CONNECTIONS={all} PENDING={pending} BREAKER={phase}")
}
