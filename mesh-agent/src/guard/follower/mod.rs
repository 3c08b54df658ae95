//! Runs what watches breakers and ejections: on a thread of its own, so that neither the network
//! nor a large update holds it up.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_common::backend::BackendIndex;
use mesh_common::guard::Transition;
use mesh_common::logic::outlier;
use tokio::sync::{oneshot, watch};

use crate::guard::act;
use crate::guard::directory::Directory;
use crate::guard::line::Line;
use crate::guard::percentage::{Ended, Outcomes, Schedule};
use crate::guard::repair::Repairs;
use crate::guard::report::Reports;
use crate::guard::states::Key;
use crate::guard::stats::{Counts, Stats};
use crate::guard::tally::Tally;
use crate::guard::watch::{Change, Source, Watch};
use crate::maps::MapError;
use crate::maps::guards::GuardStore;

/// How often the words are looked at while there are any.
const LOOK: Duration = Duration::from_millis(250);

/// Backends that are ejected, with their generation.
pub type Ejected = BTreeSet<(BackendIndex, u32)>;

/// Asks and tells the follower, and tells the repair.
#[derive(Clone, Debug)]
pub struct Guards {
    sender: Sender<Input>,
    repair: Sender<Arc<Directory>>,
}

/// The listening ends: the follower's and the repair's.
pub type Inboxes = (Receiver<Input>, Receiver<Arc<Directory>>);

/// What the follower is told.
#[derive(Debug)]
pub enum Input {
    /// Whose the words are, from now on.
    Directory(Arc<Directory>),
    /// What the ring has told.
    Transitions(Vec<Transition>),
    /// Somebody wants the numbers.
    Stats(oneshot::Sender<Stats>),
}

/// The follower has ended: the agent is going down.
#[derive(Debug, thiserror::Error)]
#[error("the thread that watches the guards has ended")]
pub struct Gone;

impl Guards {
    /// The telling and the listening ends.
    #[must_use]
    pub fn new() -> (Self, Inboxes) {
        let (sender, inbox) = channel();
        let (repair, directories) = channel();
        (Self { sender, repair }, (inbox, directories))
    }

    /// Tells whose the words are.
    pub fn know(&self, directory: &Arc<Directory>) {
        // The agent is going down where nobody listens.
        self.repair.send(Arc::clone(directory)).unwrap_or_default();
        let directory = Arc::clone(directory);
        self.sender.send(Input::Directory(directory)).unwrap_or_default();
    }

    /// Passes on what the ring has told.
    pub fn hear(&self, transitions: Vec<Transition>) {
        // As above.
        self.sender.send(Input::Transitions(transitions)).unwrap_or_default();
    }

    /// The numbers of this moment.
    pub async fn stats(&self) -> Result<Stats, Gone> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Input::Stats(reply)).map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }
}

/// Who is told by the follower.
pub struct Outputs {
    /// Backends that are to have no share of new connections; all of them, at each change.
    pub ejected: Box<dyn Fn(Ejected) + Send>,
    /// What the control plane is told.
    pub reports: watch::Sender<Arc<Reports>>,
    /// What the repair has done, for the numbers.
    pub repairs: watch::Receiver<Repairs>,
}

/// See the module.
pub struct Follower<S> {
    store: S,
    outputs: Outputs,
    directory: Directory,
    watch: Watch,
    schedule: Schedule,
    tally: Tally,
    counts: Counts,
    ejected: Ejected,
    next_look: Option<Duration>,
}

impl<S: GuardStore> Follower<S> {
    /// Watches these words.
    #[must_use]
    pub fn new(store: S, outputs: Outputs) -> Self {
        Self {
            store,
            outputs,
            directory: Directory::default(),
            watch: Watch::default(),
            schedule: Schedule::default(),
            tally: Tally::default(),
            counts: Counts::default(),
            ejected: Ejected::new(),
            next_look: None,
        }
    }

    /// Works until nobody can tell it anything any more. `clock` is `CLOCK_MONOTONIC`.
    pub fn run(mut self, inbox: &Receiver<Input>, clock: impl Fn() -> Result<Duration, MapError>) {
        let mut next = None;
        loop {
            let now = clock().unwrap_or_default();
            let first = match next {
                Some(next) => inbox.recv_timeout(Duration::saturating_sub(next, now)),
                None => inbox.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
            };
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
            let inputs: Vec<Input> = first.into_iter().chain(inbox.try_iter()).collect();
            next = self.step(inputs, clock().unwrap_or_default());
        }
    }

    /// Takes what there is, does what is due, and says when to be called again at the latest.
    pub fn step(&mut self, inputs: Vec<Input>, now: Duration) -> Option<Duration> {
        let mut changes = Vec::new();
        let mut asked = Vec::new();
        let mut transitions = Vec::new();
        let mut known = None;
        for input in inputs {
            match input {
                Input::Transitions(some) => transitions.extend(some),
                // Of several that wait, the last says it all.
                Input::Directory(directory) => known = Some(directory),
                Input::Stats(reply) => asked.push(reply),
            }
        }
        if let Some(directory) = &known {
            changes.extend(self.know(directory, now));
        }
        changes.extend(self.watch.hear(transitions));
        let due = self.next_look.is_some_and(|next| next <= now);
        if due || !asked.is_empty() {
            self.read_policies();
            changes.extend(self.watch.look(nanos(now), |key| self.store.read(key.word())));
        }
        changes.extend(self.fail_often(now));
        changes.extend(self.come_back(now));
        if known.is_some() || !changes.is_empty() {
            self.tell(&changes);
        }
        if !asked.is_empty() {
            self.count();
            let (directory, watch) = (&self.directory, &self.watch);
            let mut stats = Stats::of(directory, watch, &self.tally, &self.counts, &self.store);
            stats.repairs = *self.outputs.repairs.borrow();
            for reply in asked {
                // Whoever asked may have gone.
                drop(reply.send(stats.clone()));
            }
        }
        self.schedule_next(now, due)
    }

    fn schedule_next(&mut self, now: Duration, looked: bool) -> Option<Duration> {
        if self.directory.services.is_empty() {
            self.next_look = None;
        } else if looked || self.next_look.is_none() {
            self.next_look = Some(now.saturating_add(LOOK));
        }
        // One whose time is over and that is not back is back by a program; a look tells.
        let back = self.watch.ejected().map(|(.., time_ms)| Duration::from_millis(time_ms));
        let back = back.filter(|time| *time > now).min();
        [self.next_look, self.schedule.next(), back].into_iter().flatten().min()
    }

    /// Takes over whose the words are.
    fn know(&mut self, directory: &Directory, now: Duration) -> Vec<Change> {
        // What went meanwhile has counted until then.
        self.count();
        self.directory = directory.clone();
        self.read_policies();
        let (changes, left) =
            self.watch.sync(&self.directory, nanos(now), |key| self.store.read(key.word()));
        for (key, generation) in left {
            // An ejection that nobody would end.
            if self.store.generation(key.backend) == generation {
                act::take_back(&self.store, (key.service, key.backend), |_| true);
            }
        }
        self.schedule.sync(&self.directory, now);
        changes
    }

    /// They change without the rest.
    fn read_policies(&mut self) {
        for entry in &mut self.directory.services {
            entry.policy = self.store.policy(entry.index);
        }
    }

    fn count(&mut self) {
        let (service, backend) =
            (|index| self.store.service(index), |index| self.store.backend(index));
        self.tally.look(&self.directory, service, backend);
    }

    /// Ejects backends whose connects fail too often.
    fn fail_often(&mut self, now: Duration) -> Vec<Change> {
        let read = |index| Outcomes::of(&self.store.backend(index));
        let due = self.schedule.look(&self.directory, now, read);
        let eject = |(service, backend, Ended { failed, total })| {
            let entry = self.directory.find(service).filter(|entry| entry.ejects_now())?;
            let policy = entry.policy.outlier;
            let word = act::eject(&self.store, (service, backend), &policy, milliseconds(now))?;
            let source = Source::Percentage { failed, total };
            self.watch.acted(Key::outlier(service, backend), word, nanos(now), source)
        };
        due.into_iter().filter_map(eject).collect()
    }

    /// Takes back the backends whose time is over, and all of services that eject none any more.
    fn come_back(&mut self, now: Duration) -> Vec<Change> {
        let ejected: Vec<_> = self.watch.ejected().collect();
        let back = |(key, generation, _): (Key, u32, u64)| {
            let is_over = !self.directory.find(key.service)?.ejects();
            if self.store.generation(key.backend) != generation {
                return None;
            }
            let due = |word| is_over || outlier::time(word) <= milliseconds(now);
            let word = act::take_back(&self.store, (key.service, key.backend), due)?;
            self.watch.acted(key, word, nanos(now), Source::Agent)
        };
        ejected.into_iter().filter_map(back).collect()
    }

    /// Writes the lines, counts, and tells whoever wants to know.
    fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            self.counts.note(change);
            if let Some(entry) = self.directory.find(change.key.service) {
                Line::of(entry, change).log();
            }
        }
        let ejected: Ejected =
            self.watch.ejected().map(|(key, generation, _)| (key.backend, generation)).collect();
        if ejected != self.ejected {
            (self.outputs.ejected)(ejected.clone());
            self.ejected = ejected;
        }
        let reports = Reports::of(&self.directory, &self.watch);
        self.outputs.reports.send_if_modified(|before| {
            let new = **before != reports;
            if new {
                *before = Arc::new(reports);
            }
            new
        });
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
