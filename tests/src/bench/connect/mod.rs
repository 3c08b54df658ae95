//! `connect()` through the mesh against direct and against what others do for the same service:
//! the ratio of connect+request+close, and the nanoseconds inside the connect4 hook for a hit and
//! a miss, minus an empty program; at several numbers of services and of backends.

mod report;
mod ways;

use clap::Args;

use self::ways::{Measured, Way};
use super::lan::Lan;
use super::mesh::Mesh;
use super::peers::{Peers, Without};
use super::rounds::{self, Variant, rotated};
use super::transport::Transport;
use super::yardstick::Yardsticks;
use super::{Outcome, hook, keep_off};
use crate::cgroup::Cgroup;
use crate::require;
use crate::stats::float;

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Size {
    /// Numbers of services with ten backends each; a mesh is started for each number.
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000", value_name = "N,…",
          value_parser = clap::value_parser!(u32).range(1..=12_000))]
    services: Vec<u32>,
    /// Rounds; every variant takes its turn in each.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Connections of a turn.
    #[arg(long, default_value_t = 100)]
    per_turn: u32,
    /// CPU for the whole path.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Only a look whether everything works: few services, few rounds.
    #[arg(long)]
    quick: bool,
    /// Leave the mesh out: only what it is compared with.
    #[arg(long)]
    yardsticks_only: bool,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    without: Without,
}

impl Size {
    /// Applies `--quick`; services in ascending order.
    fn settle(&self) -> Self {
        let mut size = self.clone();
        if size.quick {
            (size.services, size.rounds, size.per_turn) = (vec![10, 1_000], 20, 50);
        }
        size.services.sort_unstable();
        size.services.dedup();
        size
    }

    fn most(&self) -> u32 {
        self.services.last().copied().unwrap_or(1)
    }
}

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    require::kernel()?;
    let size = size.settle();
    keep_off(size.cpu)?;
    let mut lan = Lan::start(size.cpu, &size.transport)?;
    let client = lan.client("bench-client")?;
    let outside = lan.place(&client);
    let (empty, floor) = (Cgroup::create("empty")?, Cgroup::create("floor")?);
    let mut yardsticks = Yardsticks::load(size.most())?;
    let ways = ways::Yard {
        empty: yardsticks.attach("empty_connect4", &empty)?,
        floor: yardsticks.attach("floor_connect4", &floor)?,
        in_empty: outside.clone().and_cgroup(&empty),
        in_floor: outside.clone().and_cgroup(&floor),
        services: size.most(),
    };
    let mut variants = ways.variants(&outside)?;
    let peers = Peers::start(&mut lan, &size.services, size.without)?;
    for peer in &peers.found {
        variants.push(ways::peer(&lan, peer)?);
    }
    // The mesh comes last, so that the machine can be judged without it.
    let meshes = if size.yardsticks_only { Vec::new() } else { meshes(&size)? };
    for mesh in &meshes {
        variants.extend(ways::mesh(mesh, &outside, size.most())?);
    }
    let measured = measure(&mut variants, &size)?;
    drop((variants, meshes));
    let figures = report::tell(&measured, &size, &peers.missing);
    Ok(Outcome { figures, fault: peers.fault() })
}

fn meshes(size: &Size) -> anyhow::Result<Vec<Mesh>> {
    size.services.iter().map(|services| Mesh::start(*services, size.most())).collect()
}

fn measure(variants: &mut [(Way, Variant)], size: &Size) -> anyhow::Result<Vec<(Way, Measured)>> {
    let mut measured: Vec<_> =
        variants.iter().map(|(way, _)| (way.clone(), Measured::default())).collect();
    for (_, variant) in variants.iter_mut() {
        // Warm: neighbours, routes, caches.
        variant.pace(size.per_turn * 5)?;
    }
    for round in 0..size.rounds {
        let turns = variants.iter_mut().map(|(_, variant)| variant).collect();
        let ns = rounds::round(turns, round, size.per_turn)?;
        let direct = ns.first().copied().unwrap_or(1.0);
        for ((_, measured), ns) in measured.iter_mut().zip(ns) {
            measured.ns.push(ns);
            measured.ratio.push(ns / direct);
        }
    }
    // The kernel's bookkeeping costs time itself, so the ratios above were taken without it.
    let account = hook::Account::open()?;
    for round in 0..size.rounds {
        for index in rotated(variants.len(), round) {
            let Some(((_, variant), (_, measured))) =
                variants.get_mut(index).zip(measured.get_mut(index))
            else {
                continue;
            };
            let Some(connect4) = variant.programs.connect4 else {
                continue;
            };
            let before = account.read()?;
            variant.pace(size.per_turn)?;
            let after = account.read()?;
            let (ns, runs) = hook::between(connect4, &before, &after);
            anyhow::ensure!(runs > 0, "{}: program {connect4} did not run", variant.name);
            measured.hook_ns.push(ns / float(runs));
            let others: f64 = variant
                .programs
                .others
                .iter()
                .map(|program| hook::between(*program, &before, &after).0)
                .sum();
            measured.others_ns.push(others / f64::from(size.per_turn));
        }
    }
    Ok(measured)
}
