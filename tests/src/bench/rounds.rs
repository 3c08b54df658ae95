//! Interleaved rounds: every variant has a warm client process of its own, pinned like all the
//! others to one CPU, and takes its turn in rotated order.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddrV4;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::bins;
use crate::load::Mode;
use crate::process::{Place, Process};
use crate::stats::float;

/// One way to the server, with its client process.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) programs: Programs,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Process,
}

/// Programs that a variant's connections run through, by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    pub(super) connect4: Option<u32>,
    pub(super) others: Vec<u32>,
}

impl Programs {
    /// A program at connect4 and nothing else.
    pub(super) const fn connect4(id: u32) -> Self {
        Self { connect4: Some(id), others: Vec::new() }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        self.connect4.iter().chain(&self.others).copied()
    }
}

/// The addresses that a variant walks over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) first: SocketAddrV4,
    pub(super) addresses: u32,
}

/// A prime, so that consecutive connections share no cache line of any table.
const STRIDE: u32 = 1_009;

impl Variant {
    /// Makes a connection for each turn's count.
    pub(super) fn connecting(
        name: impl Into<String>,
        programs: Programs,
        place: &Place,
        walk: Walk,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .args(["pace", "--mode", Mode::Request.as_str()])
            .args(["--first", &walk.first.to_string()])
            .args(["--addresses", &walk.addresses.to_string()])
            .args(["--stride", &STRIDE.to_string()]);
        Self::start(name.into(), programs, place, command)
    }

    /// Makes one connection now, and an exchange on it for each turn's count.
    pub(super) fn holding(
        name: impl Into<String>,
        programs: Programs,
        place: &Place,
        target: SocketAddrV4,
        bytes: (u32, u32),
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command
            .args(["hold", "--target", &target.to_string()])
            .args(["--send", &bytes.0.to_string()])
            .args(["--receive", &bytes.1.to_string()]);
        let mut variant = Self::start(name.into(), programs, place, command)?;
        variant.line()?;
        Ok(variant)
    }

    /// Makes one connection now, and an HTTP request on it for each turn's count.
    pub(super) fn requesting(
        name: &str,
        place: &Place,
        target: SocketAddrV4,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command.args(["get", "--target", &target.to_string()]);
        let mut variant = Self::start(name.to_owned(), Programs::default(), place, command)?;
        variant.line()?;
        Ok(variant)
    }

    fn start(
        name: String,
        programs: Programs,
        place: &Place,
        mut command: Command,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::spawn(&name, command, place, None)?;
        let (stdin, stdout) = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
        Ok(Self {
            name,
            programs,
            stdin: stdin.context("no standard input")?,
            stdout: BufReader::new(stdout.context("no standard output")?),
            _process: process,
        })
    }

    /// Makes `count` connections or exchanges; nanoseconds for each, on average.
    pub(super) fn pace(&mut self, count: u32) -> anyhow::Result<f64> {
        writeln!(self.stdin, "{count}")?;
        let ns: u64 = self.line()?.trim().parse()?;
        Ok(float(ns) / f64::from(count))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the client of {:?} ended (its reason is above)", self.name);
        }
        Ok(line)
    }
}

/// One turn of every variant, in an order that gives each every place equally often: nanoseconds
/// for each connection or exchange, in the order of the variants.
pub(super) fn round(
    mut variants: Vec<&mut Variant>,
    round: usize,
    per_turn: u32,
) -> anyhow::Result<Vec<f64>> {
    let mut ns = vec![0.0; variants.len()];
    for index in rotated(variants.len(), round) {
        if let (Some(variant), Some(slot)) = (variants.get_mut(index), ns.get_mut(index)) {
            *slot = variant.pace(per_turn)?;
        }
    }
    Ok(ns)
}

/// The order of round `round`: each variant comes first, second, … equally often.
pub(super) fn rotated(variants: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..variants).map(move |turn| (turn + round) % variants)
}
