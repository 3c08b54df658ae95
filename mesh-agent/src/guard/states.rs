//! What the words of breakers and of outlier detection say, as far as a change of it is told.

use mesh_common::backend::BackendIndex;
use mesh_common::event::EventKind;
use mesh_common::guard::Transition;
use mesh_common::logic::{breaker, outlier};
use mesh_common::service::ServiceIndex;

use crate::maps::guards::Word;

/// Names a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The service.
    pub service: ServiceIndex,
    /// The backend; none where it is the whole service's.
    pub backend: BackendIndex,
    /// Which of its words.
    pub what: What,
}

/// Which word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The breaker.
    Breaker,
    /// Outlier detection.
    Outlier,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Lets everything through.
    Closed,
    /// Lets nothing through.
    Open,
    /// Lets some trials through.
    HalfOpen,
}

/// What is told of a word; each that differs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Of a breaker.
    Breaker {
        /// What it does.
        phase: Phase,
        /// Number of the last round of trials.
        round: u64,
        /// Since when, milliseconds; 0 where it is closed.
        since_ms: u64,
    },
    /// Of outlier detection.
    Outlier {
        /// Whether the backend is ejected.
        ejected: bool,
        /// Until when; otherwise when the last ejection ended; milliseconds.
        time_ms: u64,
        /// Ejections that are not forgotten.
        times: u64,
    },
}

impl Key {
    /// The breaker of a backend, or of the service where it is none.
    #[must_use]
    pub const fn breaker(service: ServiceIndex, backend: BackendIndex) -> Self {
        Self { service, backend, what: What::Breaker }
    }

    /// Outlier detection of a backend.
    #[must_use]
    pub const fn outlier(service: ServiceIndex, backend: BackendIndex) -> Self {
        Self { service, backend, what: What::Outlier }
    }

    /// What a transition is about.
    #[must_use]
    pub fn of(transition: &Transition) -> Option<Self> {
        let Transition { kind, service, backend, .. } = *transition;
        if kind == EventKind::BREAKER {
            Some(Self::breaker(service, backend))
        } else if kind == EventKind::OUTLIER {
            Some(Self::outlier(service, backend))
        } else {
            None
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn word(self) -> Word {
        match self.what {
            What::Breaker if self.backend == BackendIndex::NONE => {
                Word::ServiceBreaker(self.service)
            }
            What::Breaker => Word::BackendBreaker(self.backend),
            What::Outlier => Word::Outlier(self.backend),
        }
    }
}

impl State {
    /// Reads a word.
    #[must_use]
    pub fn of(what: What, word: u64) -> Self {
        match what {
            What::Breaker => {
                let phase = match breaker::phase(word) {
                    breaker::Phase::OPEN => Phase::Open,
                    breaker::Phase::HALF_OPEN => Phase::HalfOpen,
                    _ => Phase::Closed,
                };
                // A closed one counts failures, of which nothing is told.
                let since_ms = if phase == Phase::Closed { 0 } else { breaker::since(word) };
                Self::Breaker { phase, round: breaker::round(word), since_ms }
            }
            What::Outlier => Self::Outlier {
                ejected: outlier::is_ejected(word),
                time_ms: outlier::time(word),
                times: outlier::ejections(word),
            },
        }
    }

    /// Whether nothing is kept away.
    #[must_use]
    pub const fn is_quiet(self) -> bool {
        match self {
            Self::Breaker { phase, .. } => matches!(phase, Phase::Closed),
            Self::Outlier { ejected, .. } => !ejected,
        }
    }
}
