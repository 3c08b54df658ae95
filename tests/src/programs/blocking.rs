//! Ends that block, which must not notice anything: `mesh-load stress --blocking` through services
//! that are not accelerated, or that leave it to the agent to see who blocks.

use std::process::Command;

use serde_json::Value;

use super::Scope;
use super::report::{Report, Said};
use super::world::{Service, Where, World};
use crate::bins;
use crate::stats::float;

const PORT: u16 = 8105;
const CONNECTIONS: u64 = 60;

/// What services ask for whose programs may block.
const SAFE: [&str; 2] = ["Off", "Auto"];

pub(super) fn run(world: &mut World, scope: Scope<'_>, report: &mut Report) -> anyhow::Result<()> {
    for &server in scope.places {
        let mut measured = Vec::new();
        for acceleration in SAFE {
            let service = world.service("blocking", server, PORT, acceleration)?;
            measured.push(world.measure(&service, || ends(world, &service))?);
        }
        report.add("blocking", "half-closes at both ends", 0, measured);
    }
    Ok(())
}

fn ends(world: &World, service: &Service) -> anyhow::Result<Said> {
    let mut command = Command::new(bins::helper("mesh-load")?);
    let target = service.vip.to_string();
    let listen = service.backend.to_string();
    command
        .args(["stress", "--blocking", "--seed", "5", "--largest", &(1 << 20).to_string()])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--target", &target, "--cut-target", &target])
        .args(["--listen", &listen, "--cut-listen", &listen]);
    if service.server == Where::Apart {
        command.arg("--server-netns").arg(world.netns(Where::Apart).path());
    }
    let said = world.run(command)?;
    let Ok(figures) = serde_json::from_str::<Value>(&said.stdout) else {
        return Ok(Said::failed(format!("exit {:?}: {}", said.code, said.stderr)));
    };
    let figure = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut errors = Vec::new();
    for name in ["would_block", "mismatches"] {
        if figure(name) > 0 {
            errors.push(format!("{name}: {figures}"));
        }
    }
    if figure("connections") != CONNECTIONS {
        errors.push(format!("not all connections: {figures}"));
    }
    let (up, down) = (figure("bytes_up"), figure("bytes_down"));
    Ok(Said {
        rate: float(CONNECTIONS) / said.took.as_secs_f64(),
        unit: "conn/s",
        longest_ms: None,
        sent: Some(up..=up),
        received: Some(down..=down),
        errors,
    })
}
