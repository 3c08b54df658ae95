//! In which words a change is told. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_common::backend::BackendIndex;
use mesh_common::logic::outlier;
use mesh_common::policy::Thresholds;

use super::directory::{Entry, Percentage};
use super::states::{Key, Phase, State};
use super::watch::{Change, Source};

/// What stands for the endpoint where it is the whole service's breaker.
pub const SERVICE: &str = "service";

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Namespace of the service.
    pub namespace: String,
    /// The service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Name of the endpoint, or [`SERVICE`].
    pub endpoint: String,
    /// The rest.
    pub message: String,
}

impl Line {
    /// Writes it.
    pub fn log(&self) {
        let Self { namespace, service, port, endpoint, message } = self;
        tracing::info!(
            target: "mesh_agent::guard",
            %namespace, %service, port, %endpoint,
            "{message}"
        );
    }

    /// Writes it as something that should not have been.
    pub fn warn(&self) {
        let Self { namespace, service, port, endpoint, message } = self;
        tracing::warn!(
            target: "mesh_agent::guard",
            %namespace, %service, port, %endpoint,
            "{message}"
        );
    }

    /// About a word of a service.
    #[must_use]
    pub fn about(entry: &Entry, key: Key, message: String) -> Self {
        Self {
            namespace: entry.name.namespace.to_string(),
            service: entry.name.name.to_string(),
            port: entry.port,
            endpoint: endpoint(entry, key.backend).unwrap_or_else(|| SERVICE.to_owned()),
            message,
        }
    }

    /// Tells a change.
    #[must_use]
    pub fn of(entry: &Entry, change: &Change) -> Self {
        Self::about(entry, change.key, message(entry, change))
    }
}

/// The endpoint's name; `None` for the whole service.
#[must_use]
pub fn endpoint(entry: &Entry, backend: BackendIndex) -> Option<String> {
    (backend != BackendIndex::NONE).then(|| {
        let holder = entry.holder(backend);
        holder.map_or_else(|| format!("backend {}", backend.index), |it| it.endpoint.to_string())
    })
}

fn message(entry: &Entry, change: &Change) -> String {
    let thresholds = thresholds(entry, change.key);
    let reset = millis(thresholds.reset_ms.into());
    let phase = |state| match state {
        State::Breaker { phase, .. } => Some(phase),
        State::Outlier { .. } => None,
    };
    match change.after {
        State::Breaker { phase: Phase::Open, .. } => {
            let cause = match phase(change.before) {
                Some(Phase::HalfOpen) => "a trial failed".to_owned(),
                _ => cause(entry, change.key, change.word, change.source),
            };
            format!("{cause}: breaker open for {reset}{}", seen(change.source))
        }
        State::Breaker { phase: Phase::HalfOpen, .. } => {
            let trials = count(thresholds.trials.into(), "trial", "trials");
            match phase(change.before) {
                Some(Phase::HalfOpen) => format!("half-open again, trials got lost: {trials}"),
                _ => format!("half-open: {trials}{}", seen(change.source)),
            }
        }
        State::Breaker { phase: Phase::Closed, .. } => match phase(change.before) {
            Some(Phase::HalfOpen) if thresholds.max_failures > 0 => {
                let trials = count(thresholds.trials.into(), "trial", "trials");
                format!("closed: {trials} succeeded{}", seen(change.source))
            }
            _ if thresholds.max_failures == 0 => "closed: the breaker was taken away".to_owned(),
            _ => format!("closed{}", seen(change.source)),
        },
        State::Outlier { ejected: true, time_ms, times } => {
            let left = time_ms.saturating_sub(change.at_ns / NS_PER_MS);
            let cause = cause(entry, change.key, change.word, change.source);
            format!("ejected for {} ({times}. ejection): {cause}", millis(left))
        }
        State::Outlier { ejected: false, .. } => match change.before {
            State::Outlier { ejected: false, .. } => "back, after an ejection".to_owned(),
            State::Outlier { .. } | State::Breaker { .. } => "back".to_owned(),
        },
    }
}

const NS_PER_MS: u64 = 1_000_000;

const fn seen(source: Source) -> &'static str {
    match source {
        Source::Look => " (seen late)",
        Source::Found => " (found so)",
        Source::Ring | Source::Agent | Source::Percentage { .. } => "",
    }
}

const fn thresholds(entry: &Entry, key: Key) -> &Thresholds {
    if key.backend.index == BackendIndex::NONE.index {
        &entry.policy.service
    } else {
        &entry.policy.backend
    }
}

/// Why a breaker is not closed, or a backend ejected, by its word.
#[must_use]
pub fn cause(entry: &Entry, key: Key, word: u64, source: Source) -> String {
    let thresholds = thresholds(entry, key);
    match State::of(key.what, word) {
        State::Breaker { phase: Phase::HalfOpen, .. } => {
            count(thresholds.trials.into(), "trial", "trials")
        }
        State::Breaker { .. } => {
            let failures = count(thresholds.max_failures.into(), "failed connect", FAILED);
            format!("{failures} within {}", millis(thresholds.window_ms.into()))
        }
        State::Outlier { .. } => match (source, entry.percentage) {
            (Source::Percentage { failed, total }, Some(Percentage { interval, .. })) => {
                let ms = milliseconds(interval);
                format!("{failed} of {total} connects failed within {}", millis(ms))
            }
            _ => match outlier::failures(word) {
                0 => "too many failed connects".to_owned(),
                failures => format!("{} in a row", count(failures, "failed connect", FAILED)),
            },
        },
    }
}

const FAILED: &str = "failed connects";

fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A time as people write it: `30s`, `1.5s`, `250ms`, `2m30s`.
#[must_use]
pub fn millis(ms: u64) -> String {
    let time = Duration::from_millis(ms);
    let (minutes, rest) = (time.as_secs() / 60, Duration::from_millis(ms % 60_000));
    let mut text = String::new();
    if minutes > 0 {
        text = format!("{minutes}m");
        if rest.is_zero() {
            return text;
        }
    }
    // Writing to a string does not fail.
    write!(text, "{rest:?}").unwrap_or_default();
    text
}
