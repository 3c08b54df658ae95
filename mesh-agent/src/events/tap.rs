//! Taps: who looks at connections as they come and go. Each has a queue of its own, which is bounded:
//! who is too slow loses events, and is told how many; nobody else waits for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::filter::Outcomes;
use super::record::Record;
use crate::worker::Worker;

/// Most at once. Each costs a copy of every event.
pub const MOST: usize = 8;
/// Events that may wait for one: a second's worth for a node that is busy, some 2 MiB.
const WAITING: usize = 8192;

/// There are as many as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} taps are open on this node already: end one of them")]
pub struct TooMany;

/// All that are open.
#[derive(Debug)]
pub struct Taps {
    worker: Worker,
    /// How many there are, for those who only ask whether there is one.
    count: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    queues: BTreeMap<u64, Queue>,
}

#[derive(Debug)]
struct Queue {
    outcomes: Outcomes,
    records: Sender<Record>,
    overrun: Arc<AtomicU64>,
}

impl Taps {
    /// None is open. `worker` has the programs tell of every connection as long as one is.
    #[must_use]
    pub fn new(worker: Worker) -> Arc<Self> {
        Arc::new(Self { worker, count: AtomicUsize::new(0), open: Mutex::default() })
    }

    /// Opens one.
    pub fn open(self: &Arc<Self>, outcomes: Outcomes) -> Result<Tap, TooMany> {
        let (sender, records) = channel(WAITING);
        let overrun = Arc::<AtomicU64>::default();
        let mut open = self.lock();
        if open.queues.len() >= MOST {
            return Err(TooMany);
        }
        open.last += 1;
        let id = open.last;
        let queue = Queue { outcomes, records: sender, overrun: Arc::clone(&overrun) };
        open.queues.insert(id, queue);
        self.counted(&open);
        Ok(Tap { taps: Arc::clone(self), id, records, overrun })
    }

    /// Something became of a connection.
    pub fn told(&self, record: &Record) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        for Queue { outcomes, records, overrun } in self.lock().queues.values() {
            if outcomes.take(record.happened) && records.try_send(record.clone()).is_err() {
                overrun.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// To be called with the lock held: the worker hears in the order in which it happens.
    fn counted(&self, open: &Open) {
        let count = open.queues.len();
        self.count.store(count, Ordering::Relaxed);
        self.worker.taps(count);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is open, until this is dropped.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    id: u64,
    records: Receiver<Record>,
    overrun: Arc<AtomicU64>,
}

impl Tap {
    /// Waits for events, and takes as many as there are, up to `most`.
    pub async fn take(&mut self, records: &mut Vec<Record>, most: usize) {
        // There is a sender until this is dropped.
        self.records.recv_many(records, most).await;
    }

    /// How many found no room in its queue.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Who knows names.
    #[must_use]
    pub fn worker(&self) -> Worker {
        self.taps.worker.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut open = self.taps.lock();
        open.queues.remove(&self.id);
        self.taps.counted(&open);
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::event::EventKind;

    use super::*;
    use crate::events::record::tests::record;

    fn taps() -> Arc<Taps> {
        let (worker, _inbox) = Worker::new();
        Taps::new(worker)
    }

    #[tokio::test]
    async fn each_hears_what_it_asks_for_and_nobody_waits_for_another() {
        let taps = taps();
        let closed = record(EventKind::CLOSED);
        taps.told(&closed);
        let mut all = taps.open(Outcomes::default()).unwrap();
        let failed = Outcomes { failed: true, ..Outcomes::NONE };
        let mut failures = taps.open(failed).unwrap();
        for _ in 0..WAITING + 5 {
            taps.told(&closed);
        }
        taps.told(&record(EventKind::FAILED));
        assert_eq!((all.overrun(), failures.overrun()), (6, 0));
        let mut records = Vec::new();
        failures.take(&mut records, 10).await;
        assert_eq!(records.len(), 1);
        all.take(&mut records, 10).await;
        assert_eq!(records.len(), 11);
    }

    #[test]
    fn there_are_not_too_many_and_who_ends_makes_room() {
        let taps = taps();
        let mut open: Vec<_> = (0..MOST).map(|_| taps.open(Outcomes::default()).unwrap()).collect();
        assert_eq!(taps.open(Outcomes::default()).unwrap_err(), TooMany);
        open.pop();
        let again = taps.open(Outcomes::default()).unwrap();
        assert_eq!(taps.count.load(Ordering::Relaxed), MOST);
        drop((open, again));
        assert_eq!(taps.count.load(Ordering::Relaxed), 0);
    }
}
