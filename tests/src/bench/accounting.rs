//! What counting costs: one mesh whose programs count by backend only, also by client, and also report
//! every connection, turn by turn. Nanoseconds for each connection, and established traffic as a
//! ratio.

use clap::Args;
use mesh_common::tunables::TunableFlags;
use serde_json::{Map, Value, json};

use super::established::{EXCHANGES, Exchange};
use super::lan::Lan;
use super::mesh::Mesh;
use super::rounds::{Programs, Variant, Walk, rotated};
use super::transport::Transport;
use super::world::Special;
use super::{Outcome, hook, keep_off, row};
use crate::process::Place;
use crate::stats::{Figures, float};
use crate::{require, ui};

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Size {
    /// Rounds; every variant takes its turn in each.
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// CPU for the whole path.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Only a look whether everything works: few rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    transport: Transport,
}

/// What a turn does.
struct Case {
    name: &'static str,
    key: &'static str,
    /// Bytes of a question and of its answer on a connection that is there already; none: a connection
    /// for each.
    bytes: Option<(u32, u32)>,
    per_turn: u32,
}

/// A connection for each exchange, and what is said on lasting ones.
fn cases() -> impl Iterator<Item = Case> {
    let connect =
        Case { name: "connect+request+close", key: "connect", bytes: None, per_turn: 100 };
    let lasting = EXCHANGES.into_iter().map(|Exchange { name, key, bytes, per_turn }| Case {
        name,
        key,
        bytes: Some(bytes),
        per_turn,
    });
    std::iter::once(connect).chain(lasting)
}

/// What the programs do besides, of the mesh's variants. All is a ratio to the first of these.
const COUNTED: [(&str, &str, TunableFlags); 4] = [
    ("mesh, by backend", "backends", TunableFlags { bits: 0 }),
    ("the same again (noise floor)", "again", TunableFlags { bits: 0 }),
    ("mesh, also by client", "edges", TunableFlags::EDGES),
    (
        "mesh, also each connection",
        "access_log",
        TunableFlags { bits: TunableFlags::EDGES.bits | TunableFlags::ACCESS_LOG.bits },
    ),
];

const SERVICES: u32 = 1_000;

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    require::kernel()?;
    let rounds = if size.quick { 20 } else { size.rounds };
    keep_off(size.cpu)?;
    let mut lan = Lan::start(size.cpu, &size.transport)?;
    let client = lan.client("bench-client")?;
    let mesh = Mesh::start(SERVICES, SERVICES)?;
    let inside = mesh.place(&lan.place(&client));
    let mut figures = Map::new();
    for case in cases() {
        let value = measure(&mesh, &inside, &case, rounds)?;
        figures.insert(case.key.to_owned(), value);
    }
    figures.insert("rounds".to_owned(), json!(rounds));
    figures.insert("congestion_control".to_owned(), json!(size.transport.name()));
    Ok(Outcome { figures: Value::Object(figures), fault: None })
}

fn variant(name: &str, case: &Case, place: &Place) -> anyhow::Result<Variant> {
    let vip = Special::ECHO.vip();
    let programs = Programs::default();
    if let Some(bytes) = case.bytes {
        return Variant::holding(name, programs, place, vip, bytes);
    }
    let walk = Walk { first: Special::ONE.vip(), addresses: 1 };
    Variant::connecting(name, programs, place, walk)
}

/// One table.
fn measure(mesh: &Mesh, place: &Place, case: &Case, rounds: usize) -> anyhow::Result<Value> {
    let mut variants = Vec::new();
    for (name, _, flags) in COUNTED {
        mesh.count(flags)?;
        let mut variant = variant(name, case, place)?;
        variant.pace(case.per_turn * 5)?;
        variants.push(variant);
    }
    let turn = |variants: &mut [Variant], index: usize| {
        let (Some(variant), Some((_, _, flags))) = (variants.get_mut(index), COUNTED.get(index))
        else {
            return Ok(0.0);
        };
        mesh.count(*flags)?;
        variant.pace(case.per_turn)
    };
    let mut ns = vec![Vec::new(); COUNTED.len()];
    for round in 0..rounds {
        for index in rotated(COUNTED.len(), round) {
            let took = turn(&mut variants, index)?;
            if let Some(ns) = ns.get_mut(index) {
                ns.push(took);
            }
        }
    }
    // The kernel's bookkeeping costs time itself, so the ratios above were taken without it.
    let account = hook::Account::open()?;
    let mut inside = vec![Vec::new(); COUNTED.len()];
    for round in 0..rounds {
        for index in rotated(COUNTED.len(), round) {
            let before = account.read()?;
            turn(&mut variants, index)?;
            let after = account.read()?;
            let programs = mesh.programs();
            let all: f64 = programs.all().map(|id| hook::between(id, &before, &after).0).sum();
            if let Some(inside) = inside.get_mut(index) {
                inside.push(all / float(u64::from(case.per_turn)));
            }
        }
    }
    Ok(report(case, &ns, inside))
}

fn report(case: &Case, ns: &[Vec<f64>], inside: Vec<Vec<f64>>) -> Value {
    let head = ["median", "p10", "p90", "ns", "programs ns"].map(str::to_owned);
    row(&format!("{}, ratio to counting by backend", case.name), &head);
    let first = ns.first().cloned().unwrap_or_default();
    let mut figures = Map::new();
    let mut least = None;
    for (((name, key, _), ns), inside) in COUNTED.into_iter().zip(ns).zip(inside) {
        let ratios = ns.iter().zip(&first).map(|(ns, first)| ns / first).collect();
        let (ratio, ns, inside) =
            (Figures::new(ratios), Figures::new(ns.clone()), Figures::new(inside));
        let [median, p10, p90] = [50, 10, 90].map(|percent| ratio.percentile(percent));
        let mut cells = [median, p10, p90].map(|ratio| format!("{ratio:.3}")).to_vec();
        cells.extend([format!("{:.0}", ns.median()), format!("{:.0}", inside.median())]);
        row(name, &cells);
        let over = inside.median() - *least.get_or_insert(inside.median());
        figures.insert(
            key.to_owned(),
            json!({
                "ratio_median": median,
                "ratio_p10": p10,
                "ratio_p90": p90,
                "ns_median": ns.median(),
                "programs_ns_median": inside.median(),
                "programs_ns_over_backends": over,
            }),
        );
        if case.bytes.is_none() && over != 0.0 {
            ui::say(format!("  {name}: {over:+.0} ns in the programs for each connection"));
        }
    }
    Value::Object(figures)
}
