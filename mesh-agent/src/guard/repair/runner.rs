//! Runs the repair: on a thread of its own, as it waits for namespaces and the kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_common::backend::BackendIndex;
use mesh_common::logic::outlier;
use tokio::sync::watch;

use super::Repairs;
use super::apply;
use super::leak::{Entry, Leaks, has_lasted};
use super::look::{self, Sockets};
use super::surplus::{APART, Sum, Surplus, Wrong, sums};
use crate::guard::directory::{Directory, Entry as Service};
use crate::maps::MapError;
use crate::maps::guards::{GuardStore, Word};
use crate::maps::kernel::conns::ConnTable;

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
pub struct Runner<S> {
    pin_path: PathBuf,
    store: S,
    sockets: Sockets,
    directory: Arc<Directory>,
    leaks: Leaks,
    surplus: Surplus,
    repairs: Repairs,
    /// When sockets are looked for next.
    next_search: Duration,
    /// The last trouble, said once.
    trouble: Option<String>,
    /// Whether it was said that loads cannot be put right.
    leaves_loads: bool,
}

impl<S: GuardStore> Runner<S> {
    /// Repairs the maps below `pin_path`; the programs are attached to `cgroup`.
    #[must_use]
    pub fn new(pin_path: &Path, cgroup: &Path, store: S) -> Self {
        Self {
            pin_path: pin_path.to_owned(),
            store,
            sockets: Sockets::new(cgroup),
            directory: Arc::default(),
            leaks: Leaks::default(),
            surplus: Surplus::default(),
            repairs: Repairs::default(),
            next_search: Duration::ZERO,
            trouble: None,
            leaves_loads: false,
        }
    }

    /// Works until nobody can say any more whose the words are. `clock` is `CLOCK_MONOTONIC`.
    pub fn run(
        mut self,
        directories: &Receiver<Arc<Directory>>,
        totals: &watch::Sender<Repairs>,
        clock: impl Fn() -> Result<Duration, MapError>,
    ) {
        let mut next = None;
        loop {
            let now = clock().unwrap_or_default();
            let news = match next {
                Some(next) => directories.recv_timeout(Duration::saturating_sub(next, now)),
                None => directories.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
            };
            match news {
                // Of several that wait, the last says it all.
                Ok(news) => {
                    self.directory = directories.try_iter().last().unwrap_or(news);
                    // Updates do not make it look more often.
                    if self.directory.is_empty() || next.is_some_and(|next| next > now) {
                        next = next.filter(|_| !self.directory.is_empty());
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = clock().unwrap_or_default();
            let soon = match self.look(now) {
                Ok(soon) => soon,
                Err(error) => {
                    self.complain(format!("cannot look for lost connections: {error}"));
                    false
                }
            };
            totals.send_replace(self.repairs);
            let wait = if soon { APART } else { self.next_search.saturating_sub(now) };
            next = Some(now.saturating_add(wait.max(APART)));
        }
    }

    /// One look, with the sockets where that is due. Returns whether another should follow soon.
    fn look(&mut self, now: Duration) -> Result<bool, MapError> {
        let table = ConnTable::open_to_repair(&self.pin_path)?;
        let records = look::records(&table);
        if self.next_search <= now {
            self.next_search = now.saturating_add(INTERVAL);
            let leaked = self.leaked(now, &records);
            self.take_all_back(&table, &leaked, now);
        }
        drop(table);
        let overflowed = ConnTable::overflowed(&self.pin_path)?;
        let mut wrong: Vec<Wrong> =
            self.directory.services.iter().filter_map(|it| self.wrong_ejected(it)).collect();
        if overflowed == 0 {
            wrong.extend(self.wrong_loads(&records)?);
        } else {
            // Records of connections that the loads have are not among these.
            self.leave_loads(overflowed);
        }
        for wrong in self.surplus.look(now, wrong) {
            if apply::correct(&self.store, &wrong, &mut self.repairs) {
                apply::tell(&self.directory, wrong.word, apply::message(&wrong));
            }
        }
        Ok(self.surplus.is_open())
    }

    fn leaked(&mut self, now: Duration, records: &[Entry]) -> Vec<Entry> {
        let lasted = records.iter().filter(|it| has_lasted(it, now));
        let lasted: Vec<Entry> = lasted.copied().collect();
        let alive = match self.sockets.alive(&lasted) {
            Ok(alive) => {
                self.trouble = None;
                Some(alive)
            }
            Err(error) => {
                self.complain(format!("cannot tell lost connections from others: {error}"));
                None
            }
        };
        self.leaks.look(now, records, alive.as_ref())
    }

    fn take_all_back(&mut self, table: &ConnTable, leaked: &[Entry], now: Duration) {
        let mut lost: BTreeMap<BackendIndex, u64> = BTreeMap::new();
        for entry in leaked.iter().filter(|entry| take_back(table, entry)) {
            let now_ms = milliseconds(now);
            apply::release(&self.store, entry, now_ms);
            self.repairs.records += 1;
            *lost.entry(entry.record.backend).or_default() += 1;
        }
        for (backend, count) in lost {
            apply::tell(&self.directory, Word::BackendLoad(backend), apply::lost(count));
        }
    }

    /// Says once that loads cannot be compared with the records.
    fn leave_loads(&mut self, overflowed: u64) {
        if !self.leaves_loads {
            self.leaves_loads = true;
            tracing::warn!(
                target: "mesh_agent::guard",
                overflowed,
                "the table of connections had no room for some of them: wrong counts of \
                 connections of services and backends are not found any more, only those of \
                 connections in the table whose socket has gone"
            );
        }
    }

    /// Loads that are not what they should be by these records.
    fn wrong_loads(&self, records: &[Entry]) -> Result<Vec<Wrong>, MapError> {
        let sums = sums(records, |entry| apply::holds(&self.store, entry));
        let mut wrong = Vec::new();
        for service in &self.directory.services {
            let Service { index, backends, .. } = service;
            let all: Vec<BackendIndex> = backends.iter().map(|holder| holder.index).collect();
            wrong.extend(self.wrong_load(Word::ServiceLoad(*index), &sums, &all)?);
            for backend in &all {
                wrong.extend(self.wrong_load(Word::BackendLoad(*backend), &sums, &[*backend])?);
            }
        }
        Ok(wrong)
    }

    fn wrong_load(
        &self,
        word: Word,
        sums: &BTreeMap<Word, Sum>,
        backends: &[BackendIndex],
    ) -> Result<Option<Wrong>, MapError> {
        let is = self.store.read(word);
        let Sum { load: should, mut print } = sums.get(&word).copied().unwrap_or_default();
        if is == should {
            return Ok(None);
        }
        for backend in backends {
            let counted = self.store.counters(*backend)?;
            for number in [counted.attempts, counted.opened, counted.failed, counted.closed] {
                print = print.rotate_left(7).wrapping_add(number);
            }
        }
        Ok(Some(Wrong { word, is, should, print }))
    }

    fn wrong_ejected(&self, service: &Service) -> Option<Wrong> {
        let word = Word::Ejected(service.index);
        let is = self.store.read(word);
        let (mut should, mut print) = (0, 0u64);
        for holder in &service.backends {
            let outlier = self.store.read(Word::Outlier(holder.index));
            if outlier::is_ejected(outlier) {
                should += 1;
                print = print.rotate_left(7).wrapping_add(outlier::time(outlier));
            }
        }
        (is != should).then_some(Wrong { word, is, should, print })
    }

    /// Says a problem once.
    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!(target: "mesh_agent::guard", "{trouble}");
            self.trouble = Some(trouble);
        }
    }
}

/// Takes the place of a record that is still the same: whoever has changed it is alive.
fn take_back(table: &ConnTable, entry: &Entry) -> bool {
    let record = table.record(entry.place);
    let same = record.is_some_and(|record| entry.is_same(&Entry { record, ..*entry }));
    same && table.take_back(entry.place, entry.cookie)
}
