//! Loads that are not those of the connections there are, and ejections that are miscounted. Pure.
//!
//! Table and loads cannot be read at one moment. So a difference counts only where nothing at all
//! has happened between three looks: the same load, the same records, and no connect begun or
//! ended. What is put right then is put right by compare-and-exchange with that same load. A
//! service that never rests is left as it is: its leaked records are found in any case.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::conn::{ConnFlags, Stage};
use mesh_common::logic::load;

use super::leak::Entry;
use crate::maps::guards::Word;

/// How long between two looks that count.
pub const APART: Duration = Duration::from_secs(1);
/// How many looks must agree for the next one to come soon.
const RESTING: u32 = 2;
/// How many looks must agree about a load.
const LOADS: u32 = 3;
/// How many looks must agree about a number of ejected backends.
const EJECTED: u32 = 2;

/// What a load should be by the records, and who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The load.
    pub load: u64,
    /// Changes with the set of records and with their stages.
    pub print: u64,
}

impl Sum {
    /// Adds a record.
    pub const fn add(&mut self, entry: &Entry) {
        let stage = entry.record.stage;
        self.load += match stage {
            Stage::CHOSEN | Stage::CONNECTING => load::PENDING,
            _ => load::OPEN,
        };
        // Cookies are ascending numbers: spread, so that sums do not meet.
        let mixed = (entry.cookie << 4 | stage.code as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.print = self.print.wrapping_add(mixed ^ (mixed >> 29));
    }
}

/// Adds up what the records say of each guarded service and backend. `holds` says whether a
/// record's backend is still the one that has the index.
#[must_use]
pub fn sums(records: &[Entry], holds: impl Fn(&Entry) -> bool) -> BTreeMap<Word, Sum> {
    let mut sums: BTreeMap<Word, Sum> = BTreeMap::new();
    let counts = |it: &&Entry| {
        it.record.flags.contains(ConnFlags::GUARDED)
            && matches!(it.record.stage, Stage::CHOSEN | Stage::CONNECTING | Stage::OPEN)
    };
    for entry in records.iter().filter(counts) {
        sums.entry(Word::ServiceLoad(entry.record.service)).or_default().add(entry);
        if holds(entry) {
            sums.entry(Word::BackendLoad(entry.record.backend)).or_default().add(entry);
        }
    }
    sums
}

/// A word that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub word: Word,
    /// What it says.
    pub is: u64,
    /// What it should say.
    pub should: u64,
    /// Changes with anything that happens to it.
    pub print: u64,
}

/// What looks have found so far.
#[derive(Debug, Default)]
pub struct Surplus {
    seen: BTreeMap<Word, (Wrong, u32)>,
    last: Option<Duration>,
}

impl Surplus {
    /// Whether something differs and has rested between two looks, so that it is to be looked at
    /// again soon. Under traffic something differs at every look.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seen.values().any(|(_, looks)| *looks >= RESTING)
    }

    /// Takes a look at everything that differs. Returns what is to be put right. `now` is any
    /// clock that only goes forward.
    pub fn look(&mut self, now: Duration, wrong: Vec<Wrong>) -> Vec<Wrong> {
        if self.last.is_some_and(|last| now.saturating_sub(last) < APART) {
            return Vec::new();
        }
        self.last = Some(now);
        let before = std::mem::take(&mut self.seen);
        let mut due = Vec::new();
        for wrong in wrong {
            let same = before.get(&wrong.word).filter(|(known, _)| *known == wrong);
            let looks = same.map_or(1, |(_, looks)| looks + 1);
            let wanted = if matches!(wrong.word, Word::Ejected(_)) { EJECTED } else { LOADS };
            if looks >= wanted {
                due.push(wrong);
            } else {
                self.seen.insert(wrong.word, (wrong, looks));
            }
        }
        due
    }
}
