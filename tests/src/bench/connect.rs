//! `connect()` through the mesh against direct: the ratio of connect+request+close, and the
//! nanoseconds inside the connect4 hook for a hit and a miss, minus an empty program.

use std::sync::Arc;

use clap::Args;
use mesh_common::names;
use serde_json::Value;

use super::rounds::{Programs, Variant, Walk, rotated};
use super::yardstick::Yardsticks;
use super::{hook, report, world};
use crate::backend::Backends;
use crate::cgroup::Cgroup;
use crate::load::Mode;
use crate::netns::NetNs;
use crate::process::Place;
use crate::stats::float;
use crate::testbed::{PORT, Testbed};
use crate::{bpftool, require, ui};

/// How much to measure.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// Services with ten backends each.
    #[arg(long, default_value_t = 5_000)]
    pub(super) services: u32,
    /// Rounds; every variant takes its turn in each.
    #[arg(long, default_value_t = 150)]
    pub(super) rounds: usize,
    /// Connections of a turn.
    #[arg(long, default_value_t = 100)]
    pub(super) per_turn: u32,
    /// CPU for the whole path.
    #[arg(long, default_value_t = 1)]
    pub(super) cpu: usize,
    /// Leave the mesh out: only what it is compared with.
    #[arg(long)]
    yardsticks_only: bool,
}

pub(super) const DIRECT: &str = "direct";
pub(super) const DIRECT_AGAIN: &str = "direct again (noise floor)";
pub(super) const EMPTY: &str = "empty program";
pub(super) const FLOOR_HIT: &str = "smallest program, hit on one service";
pub(super) const FLOOR_ALL: &str = "smallest program, hits on all services";
pub(super) const FLOOR_MISS: &str = "smallest program, miss";
pub(super) const MESH_HIT: &str = "mesh, hit on one service";
pub(super) const MESH_ALL: &str = "mesh, hits on all services";
pub(super) const MESH_MISS: &str = "mesh, miss";

/// What is measured of one variant.
#[derive(Clone, Default)]
pub(super) struct Measured {
    /// Connect+request+close as a ratio to direct, a figure for each round.
    pub(super) ratio: Vec<f64>,
    /// Nanoseconds a run inside the hook, a figure for each round.
    pub(super) hook_ns: Vec<f64>,
    /// Nanoseconds in sockops for a whole connection, a figure for each round.
    pub(super) sockops_ns: Vec<f64>,
}

pub(super) fn run(size: &Size) -> anyhow::Result<Value> {
    require::kernel()?;
    let (client, server) = linked_namespaces()?;
    let servers = {
        let place = Place::in_netns(&server).and_cpu(Some(size.cpu));
        let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, PORT);
        Backends::start(&place, Mode::Request, &[("all", any)])?
    };
    let (empty, floor) = (Cgroup::create("empty")?, Cgroup::create("floor")?);
    let mut yardsticks = Yardsticks::load(size.services)?;
    let empty_id = yardsticks.attach("empty_connect4", &empty)?;
    let floor_id = yardsticks.attach("floor_connect4", &floor)?;

    // One service is what caches love; walking over all of them is what they hate.
    let hit = Walk { first: world::vip(0), addresses: 1 };
    let all = Walk { first: world::vip(0), addresses: size.services };
    let miss = Walk { first: world::backend(0), addresses: size.services * world::BACKENDS };
    let outside = Place::in_netns(&client).and_cpu(Some(size.cpu));
    let in_empty = outside.clone().and_cgroup(&empty);
    let in_floor = outside.clone().and_cgroup(&floor);
    let mut variants = vec![
        Variant::start(DIRECT, Programs::default(), &outside, miss)?,
        Variant::start(DIRECT_AGAIN, Programs::default(), &outside, miss)?,
        Variant::start(EMPTY, Programs::connect4(empty_id), &in_empty, miss)?,
        Variant::start(FLOOR_HIT, Programs::connect4(floor_id), &in_floor, hit)?,
        Variant::start(FLOOR_ALL, Programs::connect4(floor_id), &in_floor, all)?,
        Variant::start(FLOOR_MISS, Programs::connect4(floor_id), &in_floor, miss)?,
    ];
    // The mesh comes last, so that the machine can be judged without it.
    let bed = if size.yardsticks_only {
        None
    } else {
        let bed = start_mesh(&client, size)?;
        let programs = programs_of(&bed)?;
        let inside = outside.clone().and_cgroup(bed.node.cgroup());
        variants.push(Variant::start(MESH_HIT, programs, &inside, hit)?);
        variants.push(Variant::start(MESH_ALL, programs, &inside, all)?);
        variants.push(Variant::start(MESH_MISS, programs, &inside, miss)?);
        Some(bed)
    };
    let measured = measure(&mut variants, size)?;
    drop((variants, bed, servers));
    Ok(report::tell(&measured, size))
}

fn start_mesh(client: &Arc<NetNs>, size: &Size) -> anyhow::Result<Testbed> {
    let bed = Testbed::start_in(client, "bench", &[])?;
    ui::note(format!("loading {} services", size.services));
    world::load(&bed.meshctl, size.services)?;
    Ok(bed)
}

/// The programs that the agent attached.
fn programs_of(bed: &Testbed) -> anyhow::Result<Programs> {
    let links = bed.node.pins().join(names::LINKS_DIR);
    let id = |name| -> anyhow::Result<u32> {
        Ok(u32::try_from(bpftool::program_of_link(&links.join(name))?)?)
    };
    Ok(Programs { connect4: Some(id(names::CONNECT4)?), sockops: Some(id(names::SOCKOPS)?) })
}

/// Two namespaces with a pair of interfaces between them: the client's has the way to all
/// backend addresses, the server's owns them all.
fn linked_namespaces() -> anyhow::Result<(Arc<NetNs>, Arc<NetNs>)> {
    let client = NetNs::create("bench-client")?;
    let server = NetNs::create("bench-server")?;
    client.ip(&[
        &format!("link add mesh0 type veth peer name mesh0 netns {}", server.name()),
        "addr add 10.77.0.1/24 dev mesh0",
        "link set mesh0 up",
    ])?;
    server.ip(&[
        "addr add 10.77.0.2/24 dev mesh0",
        "link set mesh0 up",
        "route add local 10.80.0.0/12 dev lo",
    ])?;
    client.ip(&["route add 10.80.0.0/12 via 10.77.0.2"])?;
    Ok((Arc::new(client), Arc::new(server)))
}

fn measure(variants: &mut [Variant], size: &Size) -> anyhow::Result<Vec<(&'static str, Measured)>> {
    let mut measured: Vec<_> =
        variants.iter().map(|variant| (variant.name, Measured::default())).collect();
    for variant in variants.iter_mut() {
        // Warm: neighbours, routes, caches.
        variant.pace(size.per_turn * 5)?;
    }
    for round in 0..size.rounds {
        let mut ns = vec![0.0; variants.len()];
        for index in rotated(variants.len(), round) {
            if let (Some(variant), Some(slot)) = (variants.get_mut(index), ns.get_mut(index)) {
                *slot = variant.pace(size.per_turn)?;
            }
        }
        let direct = ns.first().copied().unwrap_or(1.0);
        for ((_, measured), ns) in measured.iter_mut().zip(ns) {
            measured.ratio.push(ns / direct);
        }
    }
    // The kernel's bookkeeping costs time itself, so the ratios above were taken without it.
    let account = hook::Account::open()?;
    for round in 0..size.rounds {
        for index in rotated(variants.len(), round) {
            let Some((variant, (_, measured))) =
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
            let (ns, _) = hook::between(connect4, &before, &after)?;
            measured.hook_ns.push(ns);
            if let Some(sockops) = variant.programs.sockops {
                let (ns, runs) = hook::between(sockops, &before, &after)?;
                measured.sockops_ns.push(ns * float(runs) / f64::from(size.per_turn));
            }
        }
    }
    Ok(measured)
}
