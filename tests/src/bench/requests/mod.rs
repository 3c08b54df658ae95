//! What rules for requests cost: an HTTP request to the server itself, through the mesh without
//! such rules, through the node's Envoy, and through two Envoys as sidecars, in the same rounds.

mod ways;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

use self::ways::{Way, World};
use super::rounds::{self, Variant};
use super::transport::Transport;
use super::{Outcome, keep_off, row};
use crate::require;
use crate::stats::Figures;

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Size {
    /// Rounds; every way takes its turn in each.
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
}

/// Requests of a turn.
const PER_TURN: u32 = 100;

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    require::kernel()?;
    let rounds = if size.quick { 10 } else { size.rounds };
    keep_off(size.cpu)?;
    let world = World::start(size.cpu, &size.transport)?;
    let ways = world.ways();
    let mut figures = Map::new();
    let kept = |way: &Way| Variant::requesting(way.name, &way.place, way.target);
    let fresh = |way: &Way| way.connecting();
    let kept = ways.iter().map(kept).collect::<anyhow::Result<Vec<_>>>()?;
    let said = measure("request on a connection", kept, rounds)?;
    figures.insert("request".to_owned(), said);
    let fresh = ways.iter().map(fresh).collect::<anyhow::Result<Vec<_>>>()?;
    let said = measure("connect+request+close", fresh, rounds)?;
    figures.insert("connect_request_close".to_owned(), said);
    figures.insert("rounds".to_owned(), json!(rounds));
    figures.insert("congestion_control".to_owned(), json!(size.transport.name()));
    // Whoever measures Envoy's way has to know that it was Envoy's.
    let (seen, sent) = world.seen()?;
    figures.insert("requests_through_envoy".to_owned(), json!(seen));
    let most = u64::try_from(rounds)? * u64::from(PER_TURN) * 2;
    let fault = (seen < most).then(|| {
        format!("the node's Envoy has seen {seen} requests, not {most}; the sidecar {sent}")
    });
    Ok(Outcome { figures: Value::Object(figures), fault })
}

/// One table.
fn measure(what: &str, mut variants: Vec<Variant>, rounds: usize) -> anyhow::Result<Value> {
    for variant in &mut variants {
        variant.pace(PER_TURN * 3)?;
    }
    let mut ratios = vec![Vec::new(); variants.len()];
    let mut times = ratios.clone();
    for round in 0..rounds {
        let ns = rounds::round(variants.iter_mut().collect(), round, PER_TURN)?;
        let direct = *ns.first().context("no way at all")?;
        for ((ratios, times), ns) in ratios.iter_mut().zip(&mut times).zip(ns) {
            ratios.push(ns / direct);
            times.push(ns / 1e3);
        }
    }
    row(&format!("{what}, ratio to direct"), &["median", "p10", "p90", "µs"].map(str::to_owned));
    let mut figures = Map::new();
    for ((variant, ratios), times) in variants.iter().zip(ratios).zip(times) {
        let (ratio, time) = (Figures::new(ratios), Figures::new(times).median());
        let [median, p10, p90] = [50, 10, 90].map(|percent| ratio.percentile(percent));
        let mut cells = [median, p10, p90].map(|ratio| format!("{ratio:.3}")).to_vec();
        cells.push(format!("{time:.1}"));
        row(&variant.name, &cells);
        let value = json!({
            "ratio_median": median, "ratio_p10": p10, "ratio_p90": p90, "us_median": time,
        });
        figures.insert(variant.name.clone(), value);
    }
    Ok(Value::Object(figures))
}
