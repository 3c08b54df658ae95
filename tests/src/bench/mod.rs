//! The benchmarks that back the promises of speed. They report and never fail on a figure:
//! the machine decides how fast it is, a person decides what that means.

mod accounting;
mod api;
mod connect;
mod established;
mod hook;
mod lan;
mod memory;
mod mesh;
mod peers;
mod probes;
mod propagation;
mod proxies;
mod requests;
mod rounds;
mod samenode;
mod scale;
mod transport;
mod world;
mod yardstick;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{demo, ui};

/// Benchmarks on the real kernel with real processes.
#[derive(Debug, Parser)]
#[command(name = "mesh-bench")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What it costs to count connections by client, and to report each.
    Accounting {
        #[command(flatten)]
        size: accounting::Size,
        #[command(flatten)]
        output: Output,
    },
    /// `connect()` through the mesh against direct, and the nanoseconds inside the hook.
    Connect {
        #[command(flatten)]
        size: connect::Size,
        #[command(flatten)]
        output: Output,
    },
    /// Exchanges on a connection that is there already, through the mesh against direct.
    Established {
        #[command(flatten)]
        size: established::Size,
        #[command(flatten)]
        output: Output,
    },
    /// From starting `meshctl apply --wait` to its return, with the maps checked each time.
    Propagation {
        /// Number of changes.
        #[arg(long, default_value_t = 300)]
        applies: u32,
        #[command(flatten)]
        output: Output,
    },
    /// 5,000 health checks a second: CPU time and memory of the agent, and how late they begin.
    Probes {
        #[command(flatten)]
        size: probes::Size,
        #[command(flatten)]
        output: Output,
    },
    /// One Envoy against 1,000 services with rules for requests: time until it has all, time and
    /// bytes of one change, memory.
    Proxies {
        #[command(flatten)]
        size: proxies::Size,
        #[command(flatten)]
        output: Output,
    },
    /// What rules for requests cost: the node's Envoy against none, and against two sidecars.
    Requests {
        #[command(flatten)]
        size: requests::Size,
        #[command(flatten)]
        output: Output,
    },
    /// Exchanges of two programs of one node: TCP, the mesh, the mesh with acceleration, and a Unix
    /// socket.
    Samenode {
        #[command(flatten)]
        size: samenode::Size,
        #[command(flatten)]
        output: Output,
    },
    /// An agent against 10,000 services: time until everything is live, time of one change,
    /// memory.
    Scale {
        #[command(flatten)]
        size: scale::Size,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Output {
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a benchmark comes to.
struct Outcome {
    figures: Value,
    /// What must not be passed over in silence, though all figures are there.
    fault: Option<String>,
}

impl Output {
    fn close(&self, outcome: Outcome) -> anyhow::Result<()> {
        self.write(&outcome.figures)?;
        outcome.fault.map_or(Ok(()), |fault| Err(anyhow::Error::msg(fault)))
    }

    fn write(&self, figures: &Value) -> anyhow::Result<()> {
        self.json.as_ref().map_or(Ok(()), |path| demo::write_json(path, figures))
    }
}

/// Runs one benchmark.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Accounting { size, output } => output.close(accounting::run(&size)?),
        Command::Connect { size, output } => output.close(connect::run(&size)?),
        Command::Established { size, output } => output.close(established::run(&size)?),
        Command::Propagation { applies, output } => output.write(&propagation::run(applies)?),
        Command::Probes { size, output } => output.close(probes::run(&size)?),
        Command::Proxies { size, output } => output.write(&proxies::run(&size)?),
        Command::Requests { size, output } => output.close(requests::run(&size)?),
        Command::Samenode { size, output } => output.close(samenode::run(&size)?),
        Command::Scale { size, output } => output.write(&scale::run(&size)?),
    }
}

/// Keeps this process, and what it starts from now on, off the CPU of the measured paths, which
/// take it by name. Nothing can be kept off the only CPU.
fn keep_off(cpu: usize) -> anyhow::Result<()> {
    let own = Pid::from_raw(0);
    let mut set = sched_getaffinity(own)?;
    set.unset(cpu)?;
    let left = (0..CpuSet::count()).any(|other| matches!(set.is_set(other), Ok(true)));
    if left {
        sched_setaffinity(own, &set)?;
    }
    Ok(())
}

/// A line of a table: a name and its figures, right-aligned.
fn row(name: &str, cells: &[String]) {
    let mut line = format!("{name:<44}");
    for cell in cells {
        // Writing to a string cannot fail.
        write!(line, "{cell:>12}").ok();
    }
    ui::say(line);
}
