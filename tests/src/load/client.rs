//! `mesh-load run`: connections one after the other on some threads, each on a new socket and
//! each reported (`lines`). A thread may keep some of them open while it makes the next.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::lines::{Lines, Stamp};
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
    /// TCP connections that each thread keeps open, and without an exchange, while it makes the
    /// next. A failure ends the oldest as well, so that all go on where there is no room.
    #[arg(long, default_value_t = 0)]
    hold: usize,
    /// Milliseconds after which a silent server has failed.
    #[arg(long, default_value_t = 10_000)]
    patience_ms: u64,
    /// Count outcomes instead of a line for each connection.
    #[arg(long)]
    tally: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let lines = if options.tally { Lines::tally() } else { Lines::default() };
    // Connections that may still be started.
    let left = AtomicU64::new(options.count.unwrap_or(u64::MAX));
    let take = |left: u64| left.checked_sub(1);
    lines.run(options.concurrency.get(), options.count.is_none(), |flow| {
        let mut client = Client { options, lines: &lines, flow, held: VecDeque::new() };
        while !lines.stopped()
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        {
            if options.hold == 0 {
                client.connect_and_close();
            } else {
                client.connect_and_keep();
            }
            if options.pause_us > 0 {
                thread::sleep(Duration::from_micros(options.pause_us));
            }
        }
        while client.finish_oldest() {}
    })?;
    Ok(())
}

/// A thread's connections.
struct Client<'a> {
    options: &'a Options,
    lines: &'a Lines,
    flow: u32,
    /// In the order in which they were made, each with the time.
    held: VecDeque<(u64, TcpStream)>,
}

impl Client<'_> {
    const fn patience(&self) -> Duration {
        Duration::from_millis(self.options.patience_ms)
    }

    fn report(&self, start_ns: u64, outcome: std::io::Result<wire::Exchange>) {
        let duration_ns = monotonic_ns().saturating_sub(start_ns);
        self.lines.add(Stamp { start_ns, duration_ns, flow: self.flow, target: 0 }, outcome);
    }

    fn connect_and_close(&self) {
        let start_ns = monotonic_ns();
        let outcome = wire::exchange(self.options.target, self.patience());
        self.report(start_ns, outcome);
    }

    fn connect_and_keep(&mut self) {
        let start_ns = monotonic_ns();
        match TcpStream::connect(self.options.target.target) {
            Ok(stream) => self.held.push_back((start_ns, stream)),
            Err(error) => {
                self.report(start_ns, Err(error));
                self.finish_oldest();
            }
        }
        if self.held.len() > self.options.hold {
            self.finish_oldest();
        }
    }

    /// False when there is none.
    fn finish_oldest(&mut self) -> bool {
        let Some((start_ns, mut stream)) = self.held.pop_front() else { return false };
        let outcome = wire::talk(&mut stream, self.options.target.mode, self.patience());
        // Closed before it is reported.
        drop(stream);
        self.report(start_ns, outcome);
        true
    }
}
