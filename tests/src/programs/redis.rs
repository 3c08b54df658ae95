//! Redis with its own benchmark, from 1 B to 256 KiB, alone and in pipelines; and a client that
//! reads back what it has written. Redis says itself what it has received and sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::Scope;
use super::report::{Report, Said};
use super::world::{Service, World, wait_listening};
use crate::process::Process;
use crate::require;
use crate::scratch::Scratch;
use crate::stats::float;

const PORT: u16 = 8102;

/// A run of the benchmark.
struct Load {
    name: &'static str,
    commands: &'static str,
    /// Bytes of a value.
    size: u32,
    /// Commands in a row before an answer is waited for.
    pipeline: u32,
    /// Of each command, for about a second of all.
    requests: u64,
}

const LOADS: [Load; 4] = [
    Load {
        name: "8 commands, 1 B",
        commands: "set,get,incr,lpush,rpop,sadd,hset,mset",
        size: 1,
        pipeline: 1,
        requests: 4_000,
    },
    Load {
        name: "set, get, 1 KiB, pipelines of 16",
        commands: "set,get",
        size: 1 << 10,
        pipeline: 16,
        requests: 50_000,
    },
    Load {
        name: "set, get, 256 KiB, pipelines of 4",
        commands: "set,get",
        size: 256 << 10,
        pipeline: 4,
        requests: 1_000,
    },
    Load {
        name: "set, get, 64 KiB",
        commands: "set,get",
        size: 64 << 10,
        pipeline: 1,
        requests: 4_000,
    },
];
const CONNECTIONS: u64 = 32;

pub(super) fn run(world: &mut World, scope: Scope<'_>, report: &mut Report) -> anyhow::Result<()> {
    let program = require::program("redis-server", "redis-server")?;
    let benchmark = require::program("redis-benchmark", "redis-tools")?;
    let python = require::program("python3", "python3")?;
    for &server in scope.places {
        let services = world.services("redis", server, PORT)?;
        let scratch = Scratch::create("redis")?;
        let address = World::address(server, PORT);
        let mut command = Command::new(&program);
        command
            .args(["--bind", &address.ip().to_string(), "--port", &PORT.to_string()])
            .args(["--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir"])
            .arg(scratch.path());
        let log = scratch.path().join("log");
        let process = Process::spawn("redis", command, &world.server(server), Some(&log))?;
        wait_listening(&process, world.netns(server), address.into())?;
        let loads = if scope.quick { &LOADS[..3] } else { &LOADS[..] };
        for load in loads.iter().filter(|load| scope.wants(load.name)) {
            let mut measured = Vec::new();
            for service in &services {
                measured.push(world.measure(service, || {
                    counted(world, service, || bench(world, &benchmark, service, load, scope.time))
                })?);
            }
            report.add("redis", load.name, CONNECTIONS, measured);
        }
        let mut measured = Vec::new();
        for service in &services {
            measured.push(world.measure(service, || {
                counted(world, service, || read_back(world, &python, service))
            })?);
        }
        report.add("redis", "values read back", 8, measured);
    }
    Ok(())
}

fn bench(
    world: &World,
    program: &Path,
    service: &Service,
    load: &Load,
    time: Duration,
) -> anyhow::Result<Said> {
    let mut command = Command::new(program);
    command
        .args(["-h", &service.vip.ip().to_string(), "-p", &service.vip.port().to_string()])
        .args(["-c", &CONNECTIONS.to_string(), "-n", &(load.requests * time.as_secs()).to_string()])
        .args(["-t", load.commands, "-d", &load.size.to_string()])
        .args(["-P", &load.pipeline.to_string(), "--csv"]);
    let said = world.run(command)?;
    let mut errors = Vec::new();
    if said.code != Some(0) || !said.stderr.is_empty() {
        errors.push(format!("exit {:?}: {}", said.code, said.stderr));
    }
    // "test","rps","avg_latency_ms","min","p50","p95","p99","max_latency_ms"
    let (mut rates, mut longest) = (Vec::new(), 0.0_f64);
    for line in said.stdout.lines().skip(1) {
        let cells: Vec<f64> = line
            .split(',')
            .skip(1)
            .filter_map(|cell| cell.trim_matches('"').parse().ok())
            .collect();
        let [rate, .., max] = *cells else {
            errors.push(format!("not understood: {line}"));
            continue;
        };
        rates.push(rate);
        longest = longest.max(max);
    }
    if rates.len() < load.commands.split(',').count() {
        errors.push(format!("only {} results: {}", rates.len(), said.stdout));
    }
    let mean = rates.iter().sum::<f64>() / float(rates.len().try_into()?);
    let (unit, longest_ms) = ("req/s", Some(longest));
    Ok(Said { rate: mean, unit, longest_ms, errors, ..Said::default() })
}

fn read_back(world: &World, python: &Path, service: &Service) -> anyhow::Result<Said> {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("readback.py"), &service.vip.ip().to_string()]);
    command.args([&service.vip.port().to_string(), "5"]);
    let said = world.run(command)?;
    let Ok(figures) = serde_json::from_str::<Value>(&said.stdout) else {
        return Ok(Said::failed(format!("exit {:?}: {}", said.code, said.stderr)));
    };
    let count = |name: &str| figures.get(name).and_then(Value::as_u64).context("a count");
    let mut errors = Vec::new();
    let (exchanges, mismatches) = (count("exchanges")?, count("mismatches")?);
    if mismatches > 0 || exchanges == 0 {
        errors.push(format!("{mismatches} of {exchanges} answers were wrong"));
    }
    let (sent, received) = (count("sent")?, count("received")?);
    Ok(Said {
        rate: float(exchanges) / said.took.as_secs_f64(),
        unit: "req/s",
        longest_ms: figures.get("longest_ms").and_then(Value::as_f64),
        sent: Some(sent..=sent),
        received: Some(received..=received),
        errors,
    })
}

/// What Redis says that it has received and sent meanwhile, compared with what the client says.
fn counted(
    world: &World,
    service: &Service,
    work: impl FnOnce() -> anyhow::Result<Said>,
) -> anyhow::Result<Said> {
    let ask = || {
        let address = SocketAddr::from(service.backend);
        world.netns(service.server).run(|| totals(address))?
    };
    let before = ask()?;
    let mut said = work()?;
    let after = ask()?;
    // The second question is in what it tells, the first answer too.
    let sent = after.input - before.input - length_of(QUESTION);
    let received = after.output - before.output - before.length;
    for (own, name, of) in [(&said.sent, "received", sent), (&said.received, "sent", received)] {
        if own.as_ref().is_some_and(|own| !own.contains(&of)) {
            said.errors.push(format!("Redis has {name} {of} bytes, its client says {own:?}"));
        }
    }
    (said.sent, said.received) = (Some(sent..=sent), Some(received..=received));
    Ok(said)
}

const QUESTION: &[u8] = b"INFO stats\r\n";

/// Length as a count.
fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Redis's counters, and the length of the answer that tells them.
struct Totals {
    input: u64,
    output: u64,
    length: u64,
}

/// Asks past the mesh.
fn totals(address: SocketAddr) -> anyhow::Result<Totals> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(QUESTION)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    // `$LENGTH\r\n…\r\n`
    while !is_whole(&answer) {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "Redis closed the connection");
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&answer);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name}"))?.trim().parse::<u64>().context("a count")
    };
    Ok(Totals {
        input: value("total_net_input_bytes:")?,
        output: value("total_net_output_bytes:")?,
        length: length_of(&answer),
    })
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n") else { return false };
    let length = head.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length + 2)
}
