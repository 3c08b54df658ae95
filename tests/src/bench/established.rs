//! Connections that are there already: once `connect()` has chosen, nothing of the mesh is in
//! the path. The ratio to direct of a ping-pong and of a stream, and the number of times that any
//! program of the mesh ran meanwhile, which must be none.

use anyhow::ensure;
use clap::Args;
use serde_json::{Map, Value, json};

use super::lan::Lan;
use super::mesh::Mesh;
use super::peers::{Peers, Without};
use super::rounds::{self, Programs, Variant};
use super::transport::Transport;
use super::world::Special;
use super::{Outcome, hook, keep_off, row};
use crate::process::Place;
use crate::stats::Figures;
use crate::{require, ui};

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Size {
    /// Rounds; every variant takes its turn in each.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// CPU for the whole path.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Only a look whether everything works: few rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    without: Without,
}

/// What is said on a connection: bytes of a question and of its answer, exchanges of a turn.
pub(super) struct Exchange {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) bytes: (u32, u32),
    pub(super) per_turn: u32,
}

pub(super) const EXCHANGES: [Exchange; 3] = [
    Exchange { name: "ping-pong of 1 B", key: "ping_pong_1", bytes: (1, 1), per_turn: 300 },
    Exchange {
        name: "ping-pong of 64 KiB",
        key: "ping_pong_65536",
        bytes: (64 << 10, 64 << 10),
        per_turn: 60,
    },
    Exchange { name: "stream", key: "stream", bytes: (8 << 20, 1), per_turn: 1 },
];

/// Services of the mesh.
const SERVICES: u32 = 1_000;
const MESH: &str = "mesh";
const DIRECT_AGAIN: &str = "direct again (noise floor)";

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    require::kernel()?;
    let rounds = if size.quick { 20 } else { size.rounds };
    keep_off(size.cpu)?;
    let mut lan = Lan::start(size.cpu, &size.transport)?;
    let client = lan.client("bench-client")?;
    let outside = lan.place(&client);
    let peers = Peers::start(&mut lan, &[SERVICES], size.without)?;
    let mesh = Mesh::start(SERVICES, SERVICES)?;
    let inside = mesh.place(&outside);

    let (direct, vip) = (Special::ECHO.backend(0), Special::ECHO.vip());
    let mut figures = Map::new();
    let mut runs = 0;
    for Exchange { name, key, bytes, per_turn } in EXCHANGES {
        let hold = |name: &str, place: &Place, target| {
            Variant::holding(name, Programs::default(), place, target, bytes)
        };
        let mut variants = vec![
            hold("direct", &outside, direct)?,
            hold(DIRECT_AGAIN, &outside, direct)?,
            hold(MESH, &inside, vip)?,
        ];
        for peer in &peers.found {
            variants.push(hold(&peer.name, &peer.place(&lan), vip)?);
        }
        let programs = mesh.programs();
        let (value, ran) = measure(name, &mut variants, rounds, per_turn, &programs)?;
        runs += ran;
        // The same account of one more connection, which must be seen: else 0 says nothing.
        let account = hook::Account::open()?;
        let before = account.read()?;
        drop(hold(MESH, &inside, vip)?);
        let after = account.read()?;
        ensure!(ran_between(&programs, &before, &after) > 0, "the mesh saw no connection at all");
        figures.insert(key.to_owned(), value);
    }
    ui::say(format!("programs of the mesh ran {runs} times meanwhile (must be 0)"));
    let fault = (runs > 0)
        .then(|| format!("programs of the mesh ran {runs} times for established connections"));
    figures.insert("program_runs".to_owned(), json!(runs));
    figures.insert("rounds".to_owned(), json!(rounds));
    figures.insert("congestion_control".to_owned(), json!(size.transport.name()));
    let missing = peers.missing.iter().map(|it| (it.name.to_owned(), json!(it.reason)));
    figures.insert("not_installed".to_owned(), Value::Object(missing.collect()));
    Ok(Outcome { figures: Value::Object(figures), fault: fault.or_else(|| peers.fault()) })
}

/// One table; also how often the mesh's programs ran, with all connections open before and after.
fn measure(
    name: &str,
    variants: &mut [Variant],
    rounds: usize,
    per_turn: u32,
    programs: &Programs,
) -> anyhow::Result<(Value, u64)> {
    for variant in variants.iter_mut() {
        variant.pace(per_turn * 3)?;
    }
    let mut ratios = vec![Vec::new(); variants.len()];
    for round in 0..rounds {
        let ns = rounds::round(variants.iter_mut().collect(), round, per_turn)?;
        let direct = ns.first().copied().unwrap_or(1.0);
        for (ratios, ns) in ratios.iter_mut().zip(ns) {
            ratios.push(ns / direct);
        }
    }
    // Counting runs costs time, so the ratios above were taken without it.
    let account = hook::Account::open()?;
    let before = account.read()?;
    for variant in variants.iter_mut() {
        variant.pace(per_turn * 5)?;
    }
    let after = account.read()?;
    let runs = ran_between(programs, &before, &after);

    row(&format!("{name}, ratio to direct"), &["median", "p10", "p90"].map(str::to_owned));
    let mut figures = Map::new();
    for (variant, ratios) in variants.iter().zip(ratios) {
        let ratio = Figures::new(ratios);
        let cells = [50, 10, 90].map(|percent| ratio.percentile(percent));
        row(&variant.name, &cells.map(|ratio| format!("{ratio:.3}")));
        let [median, p10, p90] = cells;
        figures.insert(
            variant.name.clone(),
            json!({"ratio_median": median, "ratio_p10": p10, "ratio_p90": p90}),
        );
    }
    Ok((Value::Object(figures), runs))
}

fn ran_between(programs: &Programs, before: &hook::Readings, after: &hook::Readings) -> u64 {
    programs.all().map(|program| hook::between(program, before, after).1).sum()
}
