//! Says each change of a breaker or an ejection once. Pure: transitions, words and times go in,
//! changes come out.
//!
//! The ring is fast and tells what was between two looks, but may lose records; the words, looked
//! at every so often, lose nothing that lasts. What a look finds and the ring has not told by the
//! next look is lost, and told as the look saw it; what the ring tells later than that is not told
//! again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mesh_common::guard::Transition;

use super::directory::Directory;
use super::states::{Key, State, What};

/// A change, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which word.
    pub key: Key,
    /// What was told last.
    pub before: State,
    /// What is so now.
    pub after: State,
    /// The word.
    pub word: u64,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// How it is known.
    pub source: Source,
}

/// How a change is known, and what it says of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A program has told.
    Ring,
    /// A look at the word; what led to it may not have been seen.
    Look,
    /// It was so when it was looked at for the first time.
    Found,
    /// The agent did it, because so many of so many connects failed.
    Percentage {
        /// Failed connects.
        failed: u64,
        /// All connects.
        total: u64,
    },
    /// The agent did it, because the time is over or nobody is ejected any more.
    Agent,
}

/// A word that is watched.
#[derive(Clone, Copy, Debug)]
struct Watched {
    generation: u32,
    /// The word at the last look, unless something was told since.
    raw: Option<u64>,
    told: State,
    /// Of what was told.
    word: u64,
    /// When it became so.
    at_ns: u64,
    /// How that is known.
    source: Source,
    /// What differed at the last look, and when that was.
    suspect: Option<(u64, u64)>,
    /// Whether it was ever anything but quiet.
    moved: bool,
}

/// What is so now, of a word that is or was anything but quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of which word.
    pub key: Key,
    /// What it says.
    pub state: State,
    /// The word.
    pub word: u64,
    /// Since when, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// How that is known.
    pub source: Source,
}

/// All that is watched.
#[derive(Debug, Default)]
pub struct Watch {
    words: BTreeMap<Key, Watched>,
}

impl Watch {
    /// Takes over what there is to watch. `read` gives a word. Returns what is not quiet at first
    /// sight, and the words that are no longer watched and say that their backend is ejected.
    pub fn sync(
        &mut self,
        directory: &Directory,
        now_ns: u64,
        read: impl Fn(Key) -> u64,
    ) -> (Vec<Change>, Vec<(Key, u32)>) {
        let mut gone = std::mem::take(&mut self.words);
        let mut changes = Vec::new();
        for (key, generation) in directory.keys() {
            let known = gone.remove(&key).filter(|known| known.generation == generation);
            let watched = known.unwrap_or_else(|| {
                let word = read(key);
                let watched = Watched::first(key.what, word, generation, now_ns);
                if !watched.told.is_quiet() {
                    let before = State::of(key.what, 0);
                    let (after, source) = (watched.told, Source::Found);
                    changes.push(Change { key, before, after, word, at_ns: now_ns, source });
                }
                watched
            });
            self.words.insert(key, watched);
        }
        let left = gone
            .into_iter()
            .filter(|(key, watched)| key.what == What::Outlier && !watched.told.is_quiet());
        (changes, left.map(|(key, watched)| (key, watched.generation)).collect())
    }

    /// What the ring has told; those that arrive together, together. What nobody watches is left
    /// out: what lasts is seen by a look.
    pub fn hear(&mut self, mut batch: Vec<Transition>) -> Vec<Change> {
        batch.sort_by_key(|transition| transition.time_ns);
        let mut by_key: BTreeMap<Key, Vec<Transition>> = BTreeMap::new();
        for transition in batch {
            if let Some(key) = Key::of(&transition) {
                by_key.entry(key).or_default().push(transition);
            }
        }
        let mut changes = Vec::new();
        for (key, mut told) in by_key {
            let Some(watched) = self.words.get_mut(&key) else { continue };
            let service = key.backend == mesh_common::backend::BackendIndex::NONE;
            told.retain(|it| service || it.generation == watched.generation);
            while !told.is_empty() {
                // CPUs may take the time in another order than that of their changes.
                let follows = |it: &Transition| State::of(key.what, it.before) == watched.told;
                let next = told.remove(told.iter().position(follows).unwrap_or(0));
                changes.extend(watched.hear(key, &next));
            }
        }
        changes.sort_by_key(|change| change.at_ns);
        changes
    }

    /// A look at all words.
    pub fn look(&mut self, now_ns: u64, read: impl Fn(Key) -> u64) -> Vec<Change> {
        let words = self.words.iter_mut();
        words.filter_map(|(key, watched)| watched.look(*key, now_ns, read(*key))).collect()
    }

    /// The agent has changed a word itself.
    pub fn acted(&mut self, key: Key, word: u64, now_ns: u64, source: Source) -> Option<Change> {
        let watched = self.words.get_mut(&key)?;
        watched.tell(key, word, now_ns, source)
    }

    /// All that is or was anything but quiet.
    pub fn standing(&self) -> impl Iterator<Item = Standing> {
        self.words.iter().filter(|(_, watched)| watched.moved).map(|(key, watched)| Standing {
            key: *key,
            state: watched.told,
            word: watched.word,
            at_ns: watched.at_ns,
            source: watched.source,
        })
    }

    /// Backends that are ejected, with their generation, and until when (milliseconds).
    pub fn ejected(&self) -> impl Iterator<Item = (Key, u32, u64)> {
        self.words.iter().filter_map(|(key, watched)| match watched.told {
            State::Outlier { ejected: true, time_ms, .. } => {
                Some((*key, watched.generation, time_ms))
            }
            State::Outlier { .. } | State::Breaker { .. } => None,
        })
    }
}

impl Watched {
    fn first(what: What, word: u64, generation: u32, now_ns: u64) -> Self {
        let told = State::of(what, word);
        let source = Source::Found;
        let (raw, suspect, moved) = (Some(word), None, !told.is_quiet());
        Self { generation, raw, told, word, at_ns: now_ns, source, suspect, moved }
    }

    fn hear(&mut self, key: Key, transition: &Transition) -> Option<Change> {
        let follows = State::of(key.what, transition.before) == self.told;
        if !follows && transition.time_ns <= self.at_ns {
            return None;
        }
        self.tell(key, transition.after, transition.time_ns, Source::Ring)
    }

    fn look(&mut self, key: Key, now_ns: u64, word: u64) -> Option<Change> {
        if self.raw.replace(word) == Some(word) && self.suspect.is_none() {
            return None;
        }
        let different = State::of(key.what, word) != self.told;
        let Some((lost, at_ns)) = self.suspect.take() else {
            self.suspect = different.then_some((word, now_ns));
            return None;
        };
        if !different {
            return None;
        }
        let change = self.tell(key, lost, at_ns, Source::Look);
        if State::of(key.what, word) != self.told {
            self.suspect = Some((word, now_ns));
        }
        self.raw = Some(word);
        change
    }

    fn tell(&mut self, key: Key, word: u64, at_ns: u64, source: Source) -> Option<Change> {
        let (before, after) = (self.told, State::of(key.what, word));
        if before == after {
            return None;
        }
        (self.raw, self.suspect) = (None, None);
        (self.told, self.word, self.source) = (after, word, source);
        self.at_ns = self.at_ns.max(at_ns);
        self.moved = true;
        Some(Change { key, before, after, word, at_ns: self.at_ns, source })
    }
}
