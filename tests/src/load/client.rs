//! `mesh-load run`: connections one after the other on some threads, each on a new socket and
//! each reported in a line (`lines`).

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
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let lines = Lines::default();
    // Connections that may still be started.
    let left = AtomicU64::new(options.count.unwrap_or(u64::MAX));
    let take = |left: u64| left.checked_sub(1);
    lines.run(options.concurrency.get(), options.count.is_none(), |flow| {
        while !lines.stopped()
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        {
            let start_ns = monotonic_ns();
            let outcome = wire::exchange(options.target);
            let duration_ns = monotonic_ns().saturating_sub(start_ns);
            lines.add(Stamp { start_ns, duration_ns, flow, target: 0 }, outcome);
            if options.pause_us > 0 {
                thread::sleep(Duration::from_micros(options.pause_us));
            }
        }
    })?;
    Ok(())
}
