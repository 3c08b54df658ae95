//! Torture of acceleration: random connections between event-driven programs, in one network
//! namespace and between two, by IPv4, IPv6 and both, while acceleration stays on and while it is switched. Every byte is
//! compared, and so are the programs' counters with what the programs sent. Beside it programs
//! that block, which must not notice anything where their service is not accelerated.

mod leg;
mod report;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

pub use self::leg::Leg;
use self::leg::{LEGS, World};
pub use self::report::Report;
use crate::demo::write_json;
use crate::ui;

/// Random connections past the network stack, every byte compared.
#[derive(Clone, Debug, Args)]
pub struct Cli {
    /// Connections, over all legs.
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Most bytes of a direction.
    #[arg(long, default_value_t = 8 << 20)]
    largest: u64,
    /// What everything random is made from; without it, the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only legs whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Cli {
    /// Fewer connections.
    #[must_use]
    pub const fn short(connections: u64) -> Self {
        Self { connections, largest: 8 << 20, seed: None, only: None, json: None }
    }
}

/// Runs it, prints and writes the figures; a broken promise is an error.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let seed = match cli.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    ui::say(format!("seed {seed}"));
    let mut world = World::start()?;
    let wanted = |name: &str| cli.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    report::head();
    let mut reports = Vec::new();
    for leg in LEGS.iter().filter(|leg| wanted(leg.name)) {
        if !leg.is_possible() {
            ui::note(format!("{}: not run, this kernel was started without IPv6", leg.name));
            continue;
        }
        let report = world.run(leg, cli.connections, cli.largest, seed)?;
        report.say();
        reports.push(report);
    }
    if reports.is_empty() {
        bail!("no leg has such a name");
    }
    if let Some(path) = &cli.json {
        let legs: Vec<_> = reports.iter().map(Report::to_json).collect();
        write_json(path, &json!({ "seed": seed, "largest": cli.largest, "legs": legs }))?;
    }
    let broken: Vec<String> = reports.iter().flat_map(Report::broken_promises).collect();
    ui::promises(&broken).with_context(|| format!("seed {seed}"))
}
