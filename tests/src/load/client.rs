//! `mesh-load run`: connections one after the other on some threads, each reported in a line
//! `<start ns> <duration ns> <name or !error>`, and the totals of bytes in a last line
//! `# <sent> <received>`.

use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::{Target, monotonic_ns, wire};

/// Options of `mesh-load run`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Stop after so many connections; without it, when standard input closes.
    #[arg(long)]
    count: Option<u64>,
    /// Connections at a time.
    #[arg(long, default_value = "1")]
    concurrency: NonZeroU32,
    /// Microseconds that each thread rests between connections.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
}

struct Shared {
    /// Connections that may still be started.
    left: AtomicU64,
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    lines: Mutex<Vec<u8>>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let shared = Shared {
        left: AtomicU64::new(options.count.unwrap_or(u64::MAX)),
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        lines: Mutex::new(Vec::new()),
    };
    thread::scope(|scope| {
        if options.count.is_none() {
            scope.spawn(|| {
                // Ends at end of file or on an error: both mean that nobody wants more.
                drop(io::stdin().read_to_end(&mut Vec::new()));
                shared.stop.store(true, Ordering::Relaxed);
            });
        }
        let workers: Vec<_> = (0..options.concurrency.get())
            .map(|_| scope.spawn(|| work(options, &shared)))
            .collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
            if flush(&shared).is_err() {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    flush(&shared)?;
    let sent = shared.sent.load(Ordering::Relaxed);
    let received = shared.received.load(Ordering::Relaxed);
    let mut out = io::stdout().lock();
    writeln!(out, "# {sent} {received}")?;
    Ok(out.flush()?)
}

fn work(options: &Options, shared: &Shared) {
    let take = |left: u64| left.checked_sub(1);
    while !shared.stop.load(Ordering::Relaxed)
        && shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    {
        let start = monotonic_ns();
        let outcome = wire::exchange(options.target);
        let duration = monotonic_ns().saturating_sub(start);
        let outcome = match outcome {
            Ok(exchange) => {
                shared.sent.fetch_add(exchange.sent, Ordering::Relaxed);
                shared.received.fetch_add(exchange.received, Ordering::Relaxed);
                exchange.name
            }
            Err(error) => error
                .raw_os_error()
                .map_or_else(|| format!("!{:?}", error.kind()), |errno| format!("!{errno}")),
        };
        {
            let mut lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
            // Writing to memory cannot fail.
            drop(writeln!(lines, "{start} {duration} {outcome}"));
        }
        if options.pause_us > 0 {
            thread::sleep(Duration::from_micros(options.pause_us));
        }
    }
}

fn flush(shared: &Shared) -> io::Result<()> {
    let lines = {
        let mut lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines)
    };
    let mut out = io::stdout().lock();
    out.write_all(&lines)?;
    out.flush()
}
