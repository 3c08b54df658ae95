//! What the clients report: a line `<start ns> <duration ns> <name or !error> <flow> <target>`
//! for each exchange, written out every few milliseconds, and the totals of payload bytes in a
//! last line `# <sent> <received>`. Where there are too many for a line each, they are counted:
//! a line `= <count> <name or !error>` for each of these at the end.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::wire::{self, Exchange};

/// What all threads of a client share.
#[derive(Default)]
pub(super) struct Lines {
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    pending: Mutex<Vec<u8>>,
    /// Instead of lines, where it is there.
    tally: Option<Mutex<BTreeMap<String, u64>>>,
}

/// Which exchange it was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    /// When it began and how long it took.
    pub(super) start_ns: u64,
    pub(super) duration_ns: u64,
    /// Number of the thread, and of the address among those that it talks to.
    pub(super) flow: u32,
    pub(super) target: usize,
}

impl Lines {
    /// Counts instead of lines.
    pub(super) fn tally() -> Self {
        Self { tally: Some(Mutex::default()), ..Self::default() }
    }

    /// Nobody wants more.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Reports one exchange.
    pub(super) fn add(&self, stamp: Stamp, outcome: io::Result<Exchange>) {
        let word = match outcome {
            Ok(exchange) => {
                self.sent.fetch_add(exchange.sent, Ordering::Relaxed);
                self.received.fetch_add(exchange.received, Ordering::Relaxed);
                exchange.name
            }
            Err(error) => format!("!{}", wire::word(&error)),
        };
        if let Some(tally) = &self.tally {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            *tally.entry(word).or_default() += 1;
            return;
        }
        let Stamp { start_ns, duration_ns, flow, target } = stamp;
        let mut lines = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to memory cannot fail.
        drop(writeln!(lines, "{start_ns} {duration_ns} {word} {flow} {target}"));
    }

    /// Runs `work` on so many threads, each with its number, until they end; `until_eof` asks
    /// them to when standard input closes.
    pub(super) fn run(
        &self,
        threads: u32,
        until_eof: bool,
        work: impl Fn(u32) + Sync,
    ) -> io::Result<()> {
        let work = &work;
        thread::scope(|scope| {
            if until_eof {
                scope.spawn(|| {
                    // Ends at end of file or on an error: both mean that nobody wants more.
                    drop(io::stdin().read_to_end(&mut Vec::new()));
                    self.stop.store(true, Ordering::Relaxed);
                });
            }
            let workers: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(Duration::from_millis(5));
                if self.flush().is_err() {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        });
        self.flush()?;
        let sent = self.sent.load(Ordering::Relaxed);
        let received = self.received.load(Ordering::Relaxed);
        let mut out = io::stdout().lock();
        if let Some(tally) = &self.tally {
            for (word, count) in &*tally.lock().unwrap_or_else(PoisonError::into_inner) {
                writeln!(out, "= {count} {word}")?;
            }
        }
        writeln!(out, "# {sent} {received}")?;
        out.flush()
    }

    fn flush(&self) -> io::Result<()> {
        let lines = {
            let mut lines = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *lines)
        };
        let mut out = io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()
    }
}
