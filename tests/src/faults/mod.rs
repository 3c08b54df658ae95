//! The fault table: real backends in namespaces of their own fail in every way there is, under
//! load. For each way: what clients notice, how soon nothing is sent there any more, that nothing
//! is from then on, and how soon it is in use again.

mod fault;
mod keeper;
mod report;
mod row;

use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use serde_json::{Value, json};

use self::fault::Fault;
use self::keeper::Keeper;
pub use self::report::Report;
use crate::demo::write_json;
use crate::ui;

/// Break backends in every way and see what their clients notice.
#[derive(Clone, Debug, Parser)]
#[command(name = "mesh-faults")]
pub struct Cli {
    /// Connections that are made at least while a backend is kept away, of which none may reach it.
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Only rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Cli {
    /// All rows, or some, with fewer connections.
    #[must_use]
    pub fn short(connections: u64, only: Option<&str>) -> Self {
        Self { connections, only: only.map(str::to_owned), json: None }
    }
}

/// Backends of the service.
const MEMBERS: u8 = 4;

/// One row: what is done to how many backends, and who keeps connections from them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    name: &'static str,
    fault: Fault,
    victims: u8,
    keeper: Keeper,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "process killed", fault: Fault::Killed, victims: 1, keeper: Keeper::Breaker },
    Scenario { name: "SIGSTOP", fault: Fault::Frozen, victims: 1, keeper: Keeper::Health },
    Scenario { name: "port closed", fault: Fault::Closed, victims: 1, keeper: Keeper::Outlier },
    Scenario {
        name: "packets dropped",
        fault: Fault::Dropped,
        victims: 1,
        keeper: Keeper::Breaker,
    },
    Scenario {
        name: "flapping every 200 ms",
        fault: Fault::Flapping,
        victims: 1,
        keeper: Keeper::Breaker,
    },
    Scenario {
        name: "half of them gone",
        fault: Fault::Killed,
        victims: 2,
        keeper: Keeper::Outlier,
    },
    Scenario { name: "all gone", fault: Fault::Killed, victims: 4, keeper: Keeper::Breaker },
];

/// Runs it, prints and writes the figures; a broken promise is an error.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let reports = table(cli)?;
    if let Some(path) = &cli.json {
        let rows: Vec<Value> = reports.iter().map(Report::to_json).collect();
        write_json(path, &json!({ "connections_at_least": cli.connections, "rows": rows }))?;
    }
    let broken: Vec<String> =
        reports.iter().flat_map(|report| report.broken_promises(cli.connections)).collect();
    ui::promises(&broken)
}

fn table(cli: &Cli) -> anyhow::Result<Vec<Report>> {
    let wanted = |name: &str| cli.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    report::head();
    let mut reports = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
        let report = row::run(*scenario, cli.connections)?;
        report.say();
        reports.push(report);
    }
    if reports.is_empty() {
        bail!("no row has such a name");
    }
    Ok(reports)
}
