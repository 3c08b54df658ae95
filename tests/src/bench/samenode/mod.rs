//! Two programs of one node: exchanges over TCP loopback, through the mesh, through the mesh past
//! the network stack, and over a Unix socket. Programs are event-driven, as acceleration asks.
//! Every accelerated figure comes with the proof that the redirect was active: TCP sends nothing,
//! and the programs count every byte.

mod case;
mod way;

use clap::Args;
use serde_json::{Map, Value, json};

use self::case::{CASES, Case};
use self::way::{Client, Way, World};
use super::transport::Transport;
use super::{Outcome, keep_off, rounds, row};
use crate::stats::{Figures, float};
use crate::{require, ui};

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Size {
    /// Rounds; every way takes its turn in each.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// CPU for both programs, where they share one.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Only cases whose key contains this.
    #[arg(long)]
    only: Option<String>,
    /// Only a look whether everything works: few rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    transport: Transport,
}

/// Segments for a message, above which TCP had a part in it.
const FLAT: f64 = 0.1;

pub(super) fn run(size: &Size) -> anyhow::Result<Outcome> {
    require::kernel()?;
    let rounds = if size.quick { 10 } else { size.rounds };
    let world = World::start(size.cpu, &size.transport)?;
    let mut figures = Map::new();
    let mut faults = Vec::new();
    let mut keeps_off = false;
    for case in CASES {
        if size.only.as_ref().is_some_and(|only| !case.key.contains(only.as_str())) {
            continue;
        }
        if case.pinned && !keeps_off {
            keep_off(size.cpu)?;
            keeps_off = true;
        }
        let (value, fault) = measure(&world, &case, rounds)?;
        figures.insert(case.key.to_owned(), value);
        faults.extend(fault);
    }
    figures.insert("rounds".to_owned(), json!(rounds));
    figures.insert("congestion_control".to_owned(), json!(size.transport.name()));
    let fault = (!faults.is_empty()).then(|| faults.join("; "));
    Ok(Outcome { figures: Value::Object(figures), fault })
}

/// What the turns of one way came to.
#[derive(Default)]
struct Sums {
    /// Times as ratios to direct's of the same round, and nanoseconds.
    ratios: Vec<f64>,
    ns: Vec<f64>,
    segments: u64,
}

/// One table; also what is wrong with it.
fn measure(world: &World, case: &Case, rounds: usize) -> anyhow::Result<(Value, Option<String>)> {
    let _servers = world.servers(case)?;
    let mut clients: Vec<Client> = Vec::new();
    for way in Way::ALL {
        let mut client = world.client(way, case)?;
        // Long enough for congestion control to know the way, whichever it was at first.
        client.turn(case.per_turn * 10)?;
        clients.push(client);
    }
    let cookies: Vec<u64> = clients
        .iter()
        .filter(|client| client.way == Way::Accelerated)
        .flat_map(|client| client.cookies.clone())
        .collect();
    let before = world.redirected(&cookies)?;
    let mut sums: Vec<Sums> = clients.iter().map(|_| Sums::default()).collect();
    for round in 0..rounds {
        let mut took = vec![1.0; clients.len()];
        for index in rounds::rotated(clients.len(), round) {
            let (Some(client), Some(sums), Some(took)) =
                (clients.get_mut(index), sums.get_mut(index), took.get_mut(index))
            else {
                continue;
            };
            let (turn, segments) = world.segments(|| client.turn(case.per_turn))?;
            // One connection: how long one waits. Several: how much they do together.
            *took = if case.connections == 1 { turn.median_ns } else { turn.each_ns };
            sums.segments += segments;
        }
        let direct = took.first().copied().unwrap_or(1.0);
        for (sums, ns) in sums.iter_mut().zip(took) {
            sums.ratios.push(ns / direct);
            sums.ns.push(ns);
        }
    }
    let after = world.redirected(&cookies)?;
    let exchanges = f64::from(case.per_turn) * float(u64::try_from(rounds)?);
    let bytes = exchanges * f64::from(case.bytes.0 + case.bytes.1);
    let proof = Proof { messages: after.0 - before.0, share: float(after.1 - before.1) / bytes };
    Ok(report(case, &clients, &sums, exchanges, &proof))
}

/// The programs' account of what went past the network stack.
struct Proof {
    messages: u64,
    /// Of the bytes that were exchanged.
    share: f64,
}

fn report(
    case: &Case,
    clients: &[Client],
    sums: &[Sums],
    exchanges: f64,
    proof: &Proof,
) -> (Value, Option<String>) {
    row(
        &format!("{}, time to direct's", case.name),
        &["median", "p10", "p90", "us", "segments"].map(str::to_owned),
    );
    let mut figures = Map::new();
    let mut fault = None;
    for (client, sums) in clients.iter().zip(sums) {
        let (ratio, ns) = (Figures::new(sums.ratios.clone()), Figures::new(sums.ns.clone()));
        let [median, p10, p90] = [50, 10, 90].map(|percent| ratio.percentile(percent));
        let segments = float(sums.segments) / (exchanges * 2.0);
        let mut cells = [median, p10, p90].map(|ratio| format!("{ratio:.3}")).to_vec();
        cells.extend([format!("{:.2}", ns.median() / 1e3), format!("{segments:.3}")]);
        row(client.way.name(), &cells);
        let mut value = json!({
            "time_ratio_median": median,
            "time_ratio_p10": p10,
            "time_ratio_p90": p90,
            "rate_ratio_median": 1.0 / median,
            "us_median": ns.median() / 1e3,
            "segments_per_message": segments,
        });
        if client.way == Way::Accelerated {
            let (aim, reached) = case.aim.judge(median);
            let word = if reached { "reached" } else { "NOT reached" };
            let share = proof.share * 100.0;
            let account = if case.once {
                String::new()
            } else {
                format!("; {} messages, {share:.1}% of the bytes redirected", proof.messages)
            };
            ui::say(format!("  aim: {aim}: {word}{account}"));
            value["aim"] = json!(aim);
            value["aim_reached"] = json!(reached);
            value["redirected_messages"] = json!(proof.messages);
            value["redirected_share_of_bytes"] = json!(proof.share);
            let active = segments < FLAT && (proof.share - 1.0).abs() < 1e-9;
            fault = (case.past_tcp && !active).then(|| {
                let name = case.name;
                format!("{name}: {segments:.3} segments a message, {share:.1}% redirected")
            });
        }
        figures.insert(client.way.key().to_owned(), value);
    }
    (Value::Object(figures), fault)
}
