//! The words about limits, breakers and ejections in memory, for what decides about them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mesh_common::backend::BackendIndex;
use mesh_common::counter::BackendCounters;
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::policy::Policy;
use mesh_common::service::ServiceIndex;

use crate::maps::MapError;
use crate::maps::guards::{GuardStore, Word};

/// Words in memory; those never written are 0.
#[derive(Debug, Default)]
pub struct MemoryGuards {
    words: RefCell<BTreeMap<Word, u64>>,
    policies: BTreeMap<ServiceIndex, Policy>,
    generations: BTreeMap<BackendIndex, u32>,
    counters: BTreeMap<BackendIndex, BackendCounters>,
    outcomes: BTreeMap<BackendIndex, (u64, u64)>,
}

impl MemoryGuards {
    /// Writes a word, as a program would.
    pub fn set(&self, word: Word, value: u64) {
        self.words.borrow_mut().insert(word, value);
    }

    /// Writes a policy.
    pub fn set_policy(&mut self, index: ServiceIndex, policy: Policy) {
        self.policies.insert(index, policy);
    }

    /// Gives an index to a backend.
    pub fn set_generation(&mut self, index: BackendIndex, generation: u32) {
        self.generations.insert(index, generation);
    }

    /// Sets what the programs have counted.
    pub fn set_counters(&mut self, index: BackendIndex, counters: BackendCounters) {
        self.counters.insert(index, counters);
    }

    /// Sets how many of a backend's connections got established, and how many failed.
    pub fn set_outcomes(&mut self, index: BackendIndex, good: u64, bad: u64) {
        self.outcomes.insert(index, (good, bad));
    }
}

impl GuardStore for MemoryGuards {
    fn read(&self, word: Word) -> u64 {
        self.words.borrow().get(&word).copied().unwrap_or_default()
    }

    fn exchange(&self, word: Word, from: u64, to: u64) -> bool {
        let same = self.read(word) == from;
        if same {
            self.set(word, to);
        }
        same
    }

    fn service(&self, index: ServiceIndex) -> ServiceGuard {
        ServiceGuard {
            load: self.read(Word::ServiceLoad(index)),
            breaker: self.read(Word::ServiceBreaker(index)),
            ejected: self.read(Word::Ejected(index)),
            ..ServiceGuard::default()
        }
    }

    fn backend(&self, index: BackendIndex) -> BackendGuard {
        let (good, bad) = self.outcomes.get(&index).copied().unwrap_or_default();
        BackendGuard {
            good,
            bad,
            load: self.read(Word::BackendLoad(index)),
            breaker: self.read(Word::BackendBreaker(index)),
            outlier: self.read(Word::Outlier(index)),
            ..BackendGuard::default()
        }
    }

    fn policy(&self, index: ServiceIndex) -> Policy {
        self.policies.get(&index).copied().unwrap_or_default()
    }

    fn generation(&self, index: BackendIndex) -> u32 {
        self.generations.get(&index).copied().unwrap_or_default()
    }

    fn counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        Ok(self.counters.get(&index).copied().unwrap_or_default())
    }
}
