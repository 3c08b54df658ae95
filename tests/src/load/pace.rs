//! `mesh-load pace`: rounds of connections on demand, for interleaved measurements. All
//! variants stay alive and warm; the benchmark decides whose turn it is.

use std::io::{self, BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use clap::Args;

use super::{Mode, Target, monotonic_ns, wire};

/// Options of `mesh-load pace`.
#[derive(Debug, Args)]
pub struct Options {
    /// First address to connect to.
    #[arg(long)]
    first: SocketAddr,
    /// Walk over so many consecutive addresses, a stride apart, so that no variant lives
    /// from one hot cache line.
    #[arg(long, default_value_t = 1)]
    addresses: u32,
    /// Addresses to skip at each step (a number with no common factor with `addresses`).
    #[arg(long, default_value_t = 1)]
    stride: u32,
    /// What to say.
    #[arg(long, value_enum, default_value_t = Mode::Greet)]
    mode: Mode,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut step = 0_u32;
    for line in io::stdin().lock().lines() {
        let count: u32 = line?.trim().parse().context("a count was expected")?;
        let start = monotonic_ns();
        for _ in 0..count {
            step = step.wrapping_add(options.stride) % options.addresses.max(1);
            let target = SocketAddr::new(after(options.first.ip(), step), options.first.port());
            wire::exchange(Target { target, mode: options.mode }, wire::PATIENCE)
                .with_context(|| format!("connecting to {target}"))?;
        }
        let took = monotonic_ns().saturating_sub(start);
        let mut out = io::stdout().lock();
        writeln!(out, "{took}")?;
        out.flush()?;
    }
    Ok(())
}

/// The address `step` after `first`.
fn after(first: IpAddr, step: u32) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(step)).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(step.into())).into(),
    }
}
