//! Acceleration under programs that people run: nginx with wrk and curl, Redis with its benchmark,
//! `PostgreSQL` with pgbench, iperf3. Each runs through a service that is not accelerated and then
//! through one that is, both in front of the same server, in one network namespace and between two.
//! What a program says itself, its errors, its longest wait and its bytes, is held against the mesh's
//! own account.

mod account;
mod blocking;

mod iperf;
mod postgres;
mod processors;
mod redis;

mod report;
mod sockets;
mod web;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use self::report::Report;
use self::world::{Where, World};
use crate::demo::write_json;
use crate::ui;

/// What to run.
#[derive(Clone, Debug, Args)]
pub struct Cli {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Program>,
    /// Of these, only runs whose name contains this.
    #[arg(long)]
    run: Option<String>,
    /// Time of each run that lasts for a time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Only a look whether all is well: a second each time, and each server in one place.
    #[arg(long)]
    quick: bool,
    /// The figures of every run go to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A server and its load.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Program {
    /// nginx, with wrk and curl.
    Nginx,
    /// Redis, with redis-benchmark and a client that reads everything back.
    Redis,
    /// `PostgreSQL`, with pgbench.
    Pgbench,
    /// iperf3, both ends.
    Iperf3,
    /// Ends that block, where they are not accelerated.
    Blocking,
}

impl Cli {
    /// A look at each.
    #[must_use]
    pub const fn short() -> Self {
        Self { only: Vec::new(), run: None, seconds: 1, quick: true, json: None }
    }

    fn scope(&self, program: Program) -> Scope<'_> {
        let one: &[Where] = match program {
            Program::Nginx | Program::Pgbench => &[Where::Apart],
            Program::Redis | Program::Iperf3 | Program::Blocking => &[Where::Here],
        };
        let (seconds, places) =
            if self.quick { (1, one) } else { (self.seconds, &Where::BOTH[..]) };
        Scope {
            time: Duration::from_secs(seconds.into()),
            places,
            quick: self.quick,
            run: self.run.as_deref(),
        }
    }
}

/// How much of a program's runs.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    /// Of each run.
    time: Duration,
    places: &'static [Where],
    /// Without runs that are much like others.
    quick: bool,
    run: Option<&'a str>,
}

impl Scope<'_> {
    fn wants(&self, run: &str) -> bool {
        self.run.is_none_or(|wanted| run.contains(wanted))
    }
}

/// Runs them, prints and writes the figures; a broken promise is an error.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let wanted = |program: &Program| cli.only.is_empty() || cli.only.contains(program);
    let mut world = World::start()?;
    let mut report = Report::begin();
    for program in Program::value_variants().iter().filter(|program| wanted(program)) {
        let scope = cli.scope(*program);
        let run = match program {
            Program::Nginx => web::run,
            Program::Redis => redis::run,
            Program::Pgbench => postgres::run,
            Program::Iperf3 => iperf::run,
            Program::Blocking => blocking::run,
        };
        run(&mut world, scope, &mut report)?;
    }
    report.say_sockets();
    report.say_crowded();
    if let Some(path) = &cli.json {
        write_json(path, &json!({ "seconds": cli.seconds, "runs": report.to_json() }))?;
    }
    ui::promises(&report.broken_promises())
}
