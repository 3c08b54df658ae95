//! The door to what the programs keep about limits, breakers and ejections: words that both sides
//! change by compare-and-exchange only.

use mesh_common::backend::BackendIndex;
use mesh_common::counter::BackendCounters;
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use super::MapError;

/// A word that the programs change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Connections of a service.
    ServiceLoad(ServiceIndex),
    /// A service's breaker.
    ServiceBreaker(ServiceIndex),
    /// How many of a service's backends are ejected.
    Ejected(ServiceIndex),
    /// Connections of a backend.
    BackendLoad(BackendIndex),
    /// A backend's breaker.
    BackendBreaker(BackendIndex),
    /// Whether a backend is ejected.
    Outlier(BackendIndex),
    /// Connections of a backend, as least connections counts them.
    Active(BackendIndex),
}

/// Where the words live.
pub trait GuardStore {
    /// Reads a word.
    fn read(&self, word: Word) -> u64;

    /// Replaces a word if it still is `from`.
    #[must_use]
    fn exchange(&self, word: Word, from: u64, to: u64) -> bool;

    /// All of a service. The words may come from different moments.
    fn service(&self, index: ServiceIndex) -> ServiceGuard;

    /// All of a backend.
    fn backend(&self, index: BackendIndex) -> BackendGuard;

    /// What the agent has written for a service.
    fn policy(&self, index: ServiceIndex) -> Policy;

    /// Who holds a backend's index; 0 where nobody does.
    fn generation(&self, index: BackendIndex) -> u32;

    /// A backend's counters, summed over the CPUs.
    fn counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError>;
}

/// How often a word is tried again that somebody else has changed meanwhile: a program changes it
/// once for each connection.
const TRIES: u32 = 1_000;

/// Replaces a word by what `to` makes of it; `None` where that wants no change, or where it was
/// changed by others again and again. Otherwise the word before and after.
pub fn change(
    store: &impl GuardStore,
    word: Word,
    to: impl Fn(u64) -> Option<u64>,
) -> Option<(u64, u64)> {
    for _ in 0..TRIES {
        let before = store.read(word);
        let after = to(before).filter(|after| *after != before)?;
        if store.exchange(word, before, after) {
            return Some((before, after));
        }
    }
    None
}
