//! The log of connections: those that fail, and those that end where that was asked for. A sample of
//! them, no more lines than the log can bear, and each with the names of both ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::convert::milliseconds;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use super::bucket::Bucket;
use super::choice::OneOf;
use super::record::{Happened, Record};
use crate::accel::live;
use crate::reconcile::Named;
use crate::worker::Worker;

/// Most lines per second.
const LINES_PER_SECOND: u32 = 200;
/// Lines that may wait for their names.
const WAITING: usize = 1024;
/// How often the log says what was left out.
const SAY: Duration = Duration::from_mins(1);

/// Chooses which connections are logged.
#[derive(Debug)]
pub struct Access {
    began: Instant,
    worker: Worker,
    /// Others want to know of connections that end well, too.
    is_shared: bool,
    choice: Mutex<Choice>,
    lines: Sender<Record>,
}

#[derive(Debug)]
struct Choice {
    on: bool,
    sample: u32,
    one_of: OneOf,
    bucket: Bucket,
}

/// Writes what was chosen.
#[derive(Debug)]
pub struct Lines {
    access: Arc<Access>,
    chosen: Receiver<Record>,
}

impl Access {
    /// `on`: whether connections that end well are logged, too, as the programs have been told;
    /// `is_shared`: they have been told to tell of them anyway, and go on when nobody logs them.
    #[must_use]
    pub fn new(on: bool, is_shared: bool, worker: Worker) -> (Arc<Self>, Lines) {
        let (lines, chosen) = channel(WAITING);
        let bucket = Bucket::new(LINES_PER_SECOND, Duration::ZERO);
        let choice = Mutex::new(Choice { on, sample: 1, one_of: OneOf::new(1), bucket });
        let access = Arc::new(Self { began: Instant::now(), worker, is_shared, choice, lines });
        (Arc::clone(&access), Lines { access, chosen })
    }

    /// Logs connections that end well, one of so many, or only those that fail.
    pub fn set(&self, on: bool, sample: u32) {
        let mut choice = self.lock();
        if choice.on != on && !self.is_shared {
            self.worker.access_log(on);
        }
        if choice.sample != sample {
            choice.one_of = OneOf::new(sample);
        }
        (choice.on, choice.sample) = (on, sample);
    }

    /// Something became of a connection: this is for those that have ended.
    pub fn told(&self, record: Record) {
        let mut choice = self.lock();
        let is_told = match record.happened {
            Happened::Closed => choice.on && choice.one_of.take(),
            Happened::Failed(_) => true,
            Happened::Opened | Happened::Refused(_) => false,
        };
        if !is_told {
            return;
        }
        if choice.bucket.take(self.began.elapsed()) && self.lines.try_send(record).is_err() {
            choice.bucket.left_out();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Writes lines for ever; returns when nobody knows names any more.
    pub async fn run(mut self) -> String {
        let mut say = interval(SAY);
        say.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut records = Vec::new();
        loop {
            tokio::select! {
                count = self.chosen.recv_many(&mut records, WAITING) => {
                    if count == 0 {
                        return "nobody tells of connections any more".to_owned();
                    }
                }
                _ = say.tick() => {
                    let lines = self.access.lock().bucket.take_left_out();
                    if lines > 0 {
                        tracing::warn!(
                            target: "access",
                            lines,
                            "left out: there are more than {LINES_PER_SECOND} a second"
                        );
                    }
                    continue;
                }
            }
            let backends = records.iter().map(|record| record.backend_key).collect();
            let names = match self.access.worker.names(backends).await {
                Ok(names) => names,
                Err(gone) => return gone.to_string(),
            };
            for record in records.drain(..) {
                log(&record, names.get(&record.backend_key));
            }
        }
    }
}

/// One line, in ztunnel's words. Fields without a value are left out.
fn log(record: &Record, named: Option<&Named>) {
    let address = |(ip, port): &(IpAddr, u16)| SocketAddr::new(*ip, *port);
    let paths = record.paths.map(|(sent, received)| (live::name(sent), live::name(received)));
    let service = named.map(|it| format!("{}.{}", it.service.name, it.service.namespace));
    let is_closed = record.happened == Happened::Closed;
    let of = |label: fn(&Named) -> Option<String>| named.and_then(label);
    tracing::info!(
        target: "access",
        direction = "outbound",
        src.addr = %address(&record.client),
        dst.addr = %address(&record.backend),
        dst.frontend = %address(&record.frontend),
        dst.service = service,
        dst.endpoint = of(|it| Some(it.endpoint.to_string())),
        dst.workload = of(|it| it.workload.as_ref().map(ToString::to_string)),
        dst.version = of(|it| it.version.as_ref().map(ToString::to_string)),
        bytes_sent = record.bytes_sent,
        bytes_recv = record.bytes_received,
        duration = format!("{}ms", milliseconds(record.duration)),
        retransmits = record.retransmits,
        path_sent = paths.map(|(sent, _)| sent),
        path_recv = paths.map(|(_, received)| received),
        error = (!is_closed).then_some("not established"),
        "{}", if is_closed { "connection closed" } else { "connection failed" },
    );
}

#[cfg(test)]
mod tests {
    use mesh_common::event::EventKind;

    use super::*;
    use crate::events::record::tests::record;

    #[test]
    fn one_of_so_many_is_chosen_and_failures_are_all() {
        let (worker, _inbox) = Worker::new();
        let (access, mut lines) = Access::new(false, false, worker);
        let (closed, failed) = (record(EventKind::CLOSED), record(EventKind::FAILED));
        let others = [record(EventKind::OPENED), record(EventKind::REFUSED)];
        let mut chosen = |access: &Access, record: &Record, count| {
            (0..count).for_each(|_| access.told(record.clone()));
            std::iter::from_fn(|| lines.chosen.try_recv().ok()).count()
        };
        assert_eq!(chosen(&access, &closed, 10), 0);
        assert_eq!(chosen(&access, &failed, 10), 10);
        access.set(true, 4);
        assert_eq!(chosen(&access, &closed, 9), 3);
        assert_eq!(chosen(&access, &closed, 3), 0);
        assert_eq!(chosen(&access, &failed, 2), 2);
        access.set(true, 1);
        assert_eq!(chosen(&access, &closed, 5), 5);
        assert_eq!(others.map(|record| chosen(&access, &record, 5)), [0, 0]);
        access.set(false, 1);
        assert_eq!(chosen(&access, &closed, 5), 0);
    }
}
