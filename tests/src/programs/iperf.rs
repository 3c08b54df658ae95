//! iperf3: bulk data one way, the other way, on four connections, and both ways at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Scope;
use super::report::{Report, Said};
use super::world::{Service, World};
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::Scratch;

const PORT: u16 = 8104;
/// What each connection says first.
const COOKIE: u64 = 37;

/// Longest time until the server listens again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Seconds.
const INTERVAL: &str = "0.1";

/// Runs: a name, the flags, connections with data.
const RUNS: [(&str, &[&str], u64); 4] = [
    ("4 connections (-P 4)", &["-P", "4"], 4),
    ("both ways (--bidir)", &["--bidir"], 2),
    ("one way", &[], 1),
    ("the other way (-R)", &["-R"], 1),
];

pub(super) fn run(world: &mut World, scope: Scope<'_>, report: &mut Report) -> anyhow::Result<()> {
    let program = require::program("iperf3", "iperf3")?;
    for &server in scope.places {
        let services = world.services("iperf", server, PORT)?;
        let address = World::address(server, PORT);
        let scratch = Scratch::create("iperf")?;
        let mut command = Command::new(&program);
        command.args(["--server", "--forceflush", "--bind", &address.ip().to_string()]);
        command.args(["--port", &PORT.to_string()]);
        let mut serving = Serving::start(&world.server(server), command, &scratch)?;
        let runs = if scope.quick { &RUNS[..2] } else { &RUNS[..] };
        for &(name, flags, connections) in runs.iter().filter(|run| scope.wants(run.0)) {
            let mut measured = Vec::new();
            for service in &services {
                let mut command = Command::new(&program);
                command
                    .args(["--client", &service.vip.ip().to_string()])
                    .args(["--port", &PORT.to_string(), "--json", "--interval", INTERVAL])
                    .args(["--time", &scope.time.as_secs().to_string()])
                    .args(flags);
                serving.wait_for_next()?;
                measured.push(world.measure(service, || {
                    let said = world.run(command)?;
                    Ok(says(world, service, &said.stdout, said.code)
                        .unwrap_or_else(|| Said::failed(said.stdout + &said.stderr)))
                })?);
            }
            report.add("iperf3", name, connections, measured);
        }
    }
    Ok(())
}

/// The server. After each test it closes its listening socket and opens another, and a connection
/// just to see whether it listens is a test for it, which fails: it is asked by what it prints.
struct Serving {
    process: Process,
    log: PathBuf,
    clients: usize,
}

impl Serving {
    fn start(place: &Place, command: Command, scratch: &Scratch) -> anyhow::Result<Self> {
        let log = scratch.path().join("log");
        let process = Process::spawn("iperf3", command, place, Some(&log))?;
        Ok(Self { process, log, clients: 0 })
    }

    /// Waits until it listens for one more client.
    fn wait_for_next(&mut self) -> anyhow::Result<()> {
        let ready = || times_listening(&self.log) > self.clients;
        self.process.wait_until("listening socket for the next test", PATIENCE, ready)?;
        self.clients += 1;
        Ok(())
    }
}

/// How many times the server has said that it listens, which it says once it does.
fn times_listening(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().matches("Server listening").count()
}

fn says(world: &World, service: &Service, output: &str, code: Option<i32>) -> Option<Said> {
    let figures: Value = serde_json::from_str(output).ok()?;
    let mut errors = Vec::new();
    if let Some(error) = figures.get("error") {
        errors.push(format!("{error}"));
    }
    if code != Some(0) {
        errors.push(format!("exit {code:?}"));
    }
    let end = figures.get("end")?;
    let mut rate = 0.0;
    for name in ["sum_received", "sum_received_bidir_reverse"] {
        let of = end.get(name).and_then(|sum| sum.get("bits_per_second"));
        rate += of.and_then(Value::as_f64).unwrap_or(0.0) / 8.0 / f64::from(1 << 20);
    }
    errors.extend(streams(world, service, &figures));
    let longest_ms = Some(longest_silence(&figures) * 1e3);
    Some(Said { rate, unit: "MiB/s", longest_ms, errors, ..Said::default() })
}

/// Seconds: the longest row of intervals in which a connection has not moved a byte.
fn longest_silence(figures: &Value) -> f64 {
    let mut silent: BTreeMap<u64, f64> = BTreeMap::new();
    let mut longest = 0.0_f64;
    let intervals = list(figures.get("intervals"));
    for stream in intervals.iter().flat_map(|interval| list(interval.get("streams"))) {
        let number = |name: &str| stream.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let socket = stream.get("socket").and_then(Value::as_u64).unwrap_or(0);
        let silent = silent.entry(socket).or_default();
        *silent = if number("bytes") > 0.0 { 0.0 } else { *silent + number("seconds") };
        longest = longest.max(*silent);
    }
    longest
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Compares the bytes of each connection with the agent's record of it.
fn streams(world: &World, service: &Service, figures: &Value) -> Vec<String> {
    let ports = list(figures.pointer("/start/connected"));
    let mut errors = Vec::new();
    for stream in list(figures.pointer("/end/streams")) {
        let at = |path| stream.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let (socket, sent, taken) =
            (at("/sender/socket"), at("/sender/bytes"), at("/receiver/bytes"));
        let is_client = stream.pointer("/sender/sender").and_then(Value::as_bool).unwrap_or(false);
        let port =
            ports.iter().find(|one| one.get("socket").and_then(Value::as_u64) == Some(socket));
        let port = port.and_then(|one| one.get("local_port")).and_then(Value::as_u64);
        let logged = port.and_then(|port| world.logged(service, port.try_into().ok()?));
        // The receiver can end before it has read everything.
        let (expected, counted) = if is_client {
            (taken + COOKIE..=sent + COOKIE, logged.map(|(up, _)| up))
        } else {
            (taken..=sent, logged.map(|(_, down)| down))
        };
        if !counted.is_some_and(|counted| expected.contains(&counted)) {
            errors.push(format!("a connection: said {expected:?}, logged {counted:?}"));
        }
    }
    errors
}
