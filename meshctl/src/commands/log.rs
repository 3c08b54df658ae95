//! `log`: what a node logs, and changing it while it runs.

use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::Style;
use crate::output::table::Table;
use crate::output::{emit_value, time};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node, or `control-plane`.
    node: String,
    /// Levels by target, as in `RUST_LOG`: `info,mesh_agent::reconcile=debug`; `default` for what the
    /// program was started with.
    #[arg(long, value_name = "DIRECTIVES")]
    level: Option<String>,
    /// How long, 24h at most; then it is as before. Without this, until the program ends.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::cli::duration)]
    lasts: Option<Duration>,
    /// Whether each connection that ends has a line; failed ones always have.
    #[arg(long, value_enum, value_name = "on|off")]
    access_log: Option<Switch>,
    /// One of so many connections that end has a line.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sample: Option<u32>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Stands for what the program was started with.
const DEFAULT: &str = "default";

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let node = args.node.as_str();
    let levels = if args.changes() {
        // What is not said stays as it is.
        let before = client.get_log(node).await?;
        client.set_log(node, args.wanted(before)?).await?
    } else {
        client.get_log(node).await?
    };
    let levels = Levels::new(node, levels);
    let names = || vec![levels.directives.clone()];
    emit_value(context, &levels, names, |_wide| levels.table(context.style))
}

impl Args {
    const fn changes(&self) -> bool {
        self.level.is_some()
            || self.lasts.is_some()
            || self.access_log.is_some()
            || self.sample.is_some()
    }

    fn wanted(&self, before: wire::LogLevels) -> Result<wire::SetLog, Failure> {
        let directives = match self.level.as_deref() {
            Some("") => {
                return Err(Failure::usage(
                    "--level: say a level, as `info`, or `default` for what it was at the start",
                ));
            }
            Some(DEFAULT) => String::new(),
            Some(level) => level.to_owned(),
            None => before.directives,
        };
        if self.lasts.is_some_and(|lasts| lasts.is_zero()) {
            return Err(Failure::usage("--for: say how long, as 10m; leave it out for good"));
        }
        Ok(wire::SetLog {
            directives,
            // What was for a while stays so.
            for_ms: match self.lasts {
                Some(lasts) => milliseconds(lasts),
                None if self.level.is_none() => before.remaining_ms,
                None => 0,
            },
            access_log: self.access_log.map(|switch| switch == Switch::On),
            access_sample: self.sample.unwrap_or_default(),
        })
    }
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Levels {
    node: String,
    directives: String,
    access_log: bool,
    access_sample: u32,
    /// Until it is as before; 0: it stays.
    remaining_ms: u64,
}

impl Levels {
    fn new(node: &str, levels: wire::LogLevels) -> Self {
        let wire::LogLevels { directives, access_log, access_sample, remaining_ms } = levels;
        Self { node: node.to_owned(), directives, access_log, access_sample, remaining_ms }
    }

    fn table(&self, style: Style) -> String {
        let access = match (self.access_log, self.access_sample) {
            (false, _) => "failed connections".to_owned(),
            (true, 0 | 1) => "all connections".to_owned(),
            (true, sample) => format!("1 of {sample} connections, and failed ones"),
        };
        let remaining = match self.remaining_ms {
            0 => "until it ends".to_owned(),
            remaining => format!("for {}", time::age(remaining)),
        };
        let mut table = Table::new(&["NODE", "LEVEL", "ACCESS-LOG", "LASTS"]);
        table.row(vec![self.node.clone(), self.directives.clone(), access, remaining]);
        table.render(style)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::parse_from(["log", "n1"].iter().chain(line)).args
    }

    fn before() -> wire::LogLevels {
        wire::LogLevels {
            directives: "debug".to_owned(),
            access_log: true,
            access_sample: 3,
            remaining_ms: 5000,
        }
    }

    fn wanted(line: &[&str]) -> wire::SetLog {
        let args = args(line);
        assert!(args.changes());
        args.wanted(before()).expect("a right command line")
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        assert!(!args(&[]).changes());
        let set = wire::SetLog {
            directives: "debug".to_owned(),
            for_ms: 5000,
            ..wire::SetLog::default()
        };
        let access = wire::SetLog { access_log: Some(false), ..set.clone() };
        assert_eq!(wanted(&["--access-log", "off"]), access);
        assert_eq!(wanted(&["--sample", "7"]), wire::SetLog { access_sample: 7, ..set.clone() });
        assert_eq!(wanted(&["--for", "1m"]), wire::SetLog { for_ms: 60_000, ..set.clone() });
        // A level without a time is for good.
        let warn = wire::SetLog { directives: "warn".to_owned(), for_ms: 0, ..set };
        assert_eq!(wanted(&["--level", "warn"]), warn);
        assert_eq!(wanted(&["--level", "default"]).directives, "");
        for wrong in [["--level", ""], ["--for", "0s"]] {
            assert_eq!(args(&wrong).wanted(before()).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_table_says_what_is_logged_and_for_how_long() {
        let table = |levels| Levels::new("n1", levels).table(Style::PLAIN);
        let lines = table(before());
        let cells = |line: &str| line.split("   ").map(str::trim).map(str::to_owned).collect();
        let lines: Vec<Vec<String>> = lines.lines().map(cells).collect();
        assert_eq!(lines[1].first().map(String::as_str), Some("n1"));
        assert!(lines[1].contains(&"1 of 3 connections, and failed ones".to_owned()), "{lines:?}");
        assert_eq!(lines[1].last().map(String::as_str), Some("for 5s"));
        let start = wire::LogLevels { directives: "info".to_owned(), ..wire::LogLevels::default() };
        assert!(table(start.clone()).contains("failed connections   until it ends"));
        let all = wire::LogLevels { access_log: true, access_sample: 1, ..start };
        assert!(table(all).contains("all connections"));
    }
}
