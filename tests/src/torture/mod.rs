//! Upgrade torture: TCP and UDP load without a pause while the agent is stopped, killed,
//! started again and replaced (other programs, maps of other sizes). No connection may fail,
//! none may reach a backend of another service, no lasting socket may lose its backend, and at
//! the end the agent's counters must equal what the clients counted, one by one.

mod load;
mod report;
mod upgrade;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use self::load::Load;
pub use self::report::Report;
use self::upgrade::{Action, Upgrades};
use crate::demo::write_json;
use crate::testbed::Testbed;
use crate::ui;

/// Stop, kill and replace the agent under load.
#[derive(Debug, Parser)]
#[command(name = "mesh-torture")]
pub struct Cli {
    /// Seconds of load, at least; the times below are spread over them.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// How often the agent is stopped (SIGTERM) and started again.
    #[arg(long, default_value_t = 20)]
    restarts: u32,
    /// How often it is killed (SIGKILL) and started again.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// How often it is started with another object file and maps of another size.
    #[arg(long, default_value_t = 5)]
    replacements: u32,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Cli {
    /// The usual proportions in so many seconds; each happens at least once.
    #[must_use]
    pub fn scaled(seconds: u32) -> Self {
        let share = |of_sixty: u32| (of_sixty * seconds).div_ceil(60).max(1);
        Self { seconds, restarts: share(20), kills: share(10), replacements: share(5), json: None }
    }

    /// What happens, in this order: the kinds are spread evenly.
    fn actions(&self) -> Vec<Action> {
        let kinds = [
            (Action::Restart, self.restarts),
            (Action::Kill, self.kills),
            (Action::Replace, self.replacements),
        ];
        let mut placed: Vec<(f64, Action)> = Vec::new();
        for (action, count) in kinds {
            for n in 0..count {
                placed.push(((f64::from(n) + 0.5) / f64::from(count), action));
            }
        }
        placed.sort_by(|one, other| one.0.total_cmp(&other.0));
        placed.into_iter().map(|(_, action)| action).collect()
    }
}

/// Runs it, prints and writes the figures; a broken promise is an error.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let report = torture(cli)?;
    report.say();
    if let Some(path) = &cli.json {
        write_json(path, &report.to_json())?;
    }
    ui::promises(&report.broken_promises())
}

/// Runs it and returns the figures, good or bad.
pub fn torture(cli: &Cli) -> anyhow::Result<Report> {
    let mut bed = Testbed::start("torture")?;
    let load = Load::start(&bed)?;
    let mut upgrades = Upgrades::new(&bed)?;
    let actions = cli.actions();
    let length = Duration::from_secs(cli.seconds.into());
    let start = Instant::now();
    for (n, action) in (1_u32..).zip(&actions) {
        // The first and the last part of the time have no action.
        let due = length * n / u32::try_from(actions.len() + 1)?;
        load.run_for(due.saturating_sub(start.elapsed()))?;
        upgrades.act(&mut bed, &load, *action)?;
    }
    load.run_for(length.saturating_sub(start.elapsed()))?;
    let took = start.elapsed();
    let outcomes = load.stop()?;
    Report::new(&bed, took, outcomes, upgrades.into_figures())
}
