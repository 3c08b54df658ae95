//! nginx with wrk, which counts errors and waits, and with curl, whose files are compared.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::Scope;
use super::report::{Report, Said};
use super::world::{Service, World};
use crate::nginx::Nginx;
use crate::require;
use crate::scratch::Scratch;
use crate::stats::float;

const PORT: u16 = 8101;
/// Names and sizes of the files.
const FILES: [(&str, usize); 5] =
    [("1", 1), ("1k", 1_000), ("64k", 65_537), ("1m", 1 << 20), ("8m", 8 << 20)];
/// Bytes that can be under way on a connection when wrk ends.
const UNDER_WAY: u64 = 16 << 20;

/// What wrk prints at its end; `write`, `read` and others are its errors.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"us":%d,"max_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
"#;

/// Load by wrk: a name, a path, connections.
const LOADS: [(&str, &str, u32); 4] = [
    ("wrk, 1 kB", "sent/1k", 16),
    ("wrk, 1 MiB", "sent/1m", 16),
    ("wrk, 8 MiB", "sent/8m", 4),
    ("wrk, 8 MiB without sendfile", "read/8m", 4),
];

pub(super) fn run(world: &mut World, scope: Scope<'_>, report: &mut Report) -> anyhow::Result<()> {
    let files = Scratch::create("web")?;
    for (name, size) in FILES {
        fs::write(files.path().join(name), content(size))?;
    }
    let script = files.write("wrk.lua", SCRIPT)?;
    let wrk = require::program("wrk", "wrk")?;
    let curl = require::program("curl", "curl")?;
    for &server in scope.places {
        let services = world.services("nginx", server, PORT)?;
        let address = World::address(server, PORT).into();
        let (netns, place) = (world.netns(server), world.server(server));
        let _nginx = Nginx::files(netns, &place, files.path(), address)?;
        let loads = if scope.quick { &LOADS[..2] } else { &LOADS[..] };
        for &(name, path, connections) in loads.iter().filter(|load| scope.wants(load.0)) {
            let mut measured = Vec::new();
            for service in &services {
                let mut command = Command::new(&wrk);
                command
                    .args(["-t1", "-c", &connections.to_string()])
                    .args(["-d", &format!("{}s", scope.time.as_secs())])
                    .arg("-s")
                    .arg(&script)
                    .arg(format!("http://{}/{path}", service.vip));
                let connections = u64::from(connections);
                measured.push(world.measure(service, || {
                    let said = world.run(command)?;
                    Ok(wrk_says(&said.stdout, connections)
                        .unwrap_or_else(|| Said::failed(said.stdout + &said.stderr)))
                })?);
            }
            report.add("nginx", name, u64::from(connections), measured);
        }
        let mut measured = Vec::new();
        for service in &services {
            measured.push(world.measure(service, || compare(world, &curl, service))?);
        }
        report.add("nginx", "curl, 30 files compared", 1, measured);
    }
    Ok(())
}

/// Bytes that repeat themselves nowhere near.
fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend(state.to_le_bytes());
    }
    content.truncate(size);
    content
}

fn wrk_says(output: &str, connections: u64) -> Option<Said> {
    let line = output.lines().rev().find(|line| line.starts_with('{'))?;
    let figures: Value = serde_json::from_str(line).ok()?;
    let figure = |name: &str| figures.get(name).and_then(Value::as_u64);
    let bytes = figure("bytes")?;
    let mut errors = Vec::new();
    for name in ["connect", "read", "write", "status", "timeout"] {
        let times = figure(name)?;
        if times > 0 {
            errors.push(format!("{times} errors of kind {name}"));
        }
    }
    Some(Said {
        rate: float(figure("requests")?) * 1e6 / float(figure("us")?),
        unit: "req/s",
        longest_ms: Some(float(figure("max_us")?) / 1e3),
        // It ends in the midst of answers: what it has not read is counted as well.
        received: Some(bytes..=bytes + connections * UNDER_WAY),
        errors,
        ..Said::default()
    })
}

/// Downloads every file some times on one connection, and compares.
fn compare(world: &World, curl: &std::path::Path, service: &Service) -> anyhow::Result<Said> {
    let folder = Scratch::create("curl")?;
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--fail"]);
    let format = "%{size_request} %{size_header} %{size_download} %{time_total} %{num_connects}\\n";
    command.args(["--write-out", format]);
    let mut expected = Vec::new();
    for round in 0..3 {
        for way in ["sent", "read"] {
            for (name, size) in FILES {
                let out = folder.path().join(format!("{round}-{way}-{name}"));
                command.arg("--output").arg(&out);
                command.arg(format!("http://{}/{way}/{name}", service.vip));
                expected.push((out, size));
            }
        }
    }
    let said = world.run(command)?;
    let mut errors = Vec::new();
    if said.code != Some(0) || !said.stderr.is_empty() {
        errors.push(format!("curl: exit {:?}: {}", said.code, said.stderr));
    }
    for (path, size) in expected {
        let found = fs::read(&path).unwrap_or_default();
        if found != content(size) {
            errors.push(format!("{}: {} bytes, other content", path.display(), found.len()));
        }
    }
    let (mut sent, mut received, mut seconds, mut longest) = (0, 0, 0.0, 0.0_f64);
    for line in said.stdout.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [request, header, body, took, _] = *words else { continue };
        sent += request.parse::<u64>()?;
        received += header.parse::<u64>()? + body.parse::<u64>()?;
        let took: f64 = took.parse().context("a time")?;
        seconds += took;
        longest = longest.max(took);
    }
    Ok(Said {
        rate: float(received) / f64::from(1 << 20) / seconds,
        unit: "MiB/s",
        longest_ms: Some(longest * 1e3),
        sent: Some(sent..=sent),
        received: Some(received..=received),
        errors,
    })
}
