//! What `bench scale` says: a table for a person, JSON for a machine, the aims beside both.

use serde_json::{Value, json};

use super::super::{row, world};
use super::{Changed, Kind, Measured, Memory, Size, Start};
use crate::stats::Figures;
use crate::ui;

/// Aims at 10,000 services and 100,000 endpoints, as the project's performance targets have them.
const AIM_SYNC_MS: f64 = 5_000.0;
const AIM_CHANGE_MS: f64 = 5.0;
const AIM_RSS_MIB: f64 = 150.0;

pub(super) fn tell(measured: &Measured, size: &Size) -> Value {
    let endpoints = size.services * world::BACKENDS;
    ui::say(format!(
        "{} services, {endpoints} endpoints; loaded into the control plane in {:.1} s",
        size.services, measured.load_s
    ));
    row("start of the agent (ms)", &["ready", "live", "in the agent"].map(str::to_owned));
    let starts = [("with nothing", &measured.empty), ("with what it kept", &measured.restart)];
    for (name, start) in starts {
        let cells = [start.ready, start.live, start.applied];
        row(name, &cells.map(|ms| format!("{ms:.0}")));
    }

    let head = ["count", "p50", "p99", "max", "in agent p50", "p99", "max"];
    row("one endpoint, API call to live (ms)", &head.map(str::to_owned));
    let mut changes = serde_json::Map::new();
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), Some(kind)));
    for (name, kind) in kinds.into_iter().chain([("all", None)]) {
        let of_kind = |changed: &&Changed| kind.is_none_or(|kind| changed.kind == kind);
        let chosen: Vec<&Changed> = measured.changed.iter().filter(of_kind).collect();
        changes.insert(name.to_owned(), change(name, &chosen));
    }

    row("memory (MiB)", &["resident", "heap", "files", "shared", "peak"].map(str::to_owned));
    let memory = [
        ("agent_synced", "agent, synced", &measured.agent_synced),
        ("agent_changed", "agent, after the changes", &measured.agent_changed),
        ("agent_restarted", "agent, restarted", &measured.agent_restarted),
        ("control_loaded", "control plane, loaded", &measured.control_loaded),
        ("control_changed", "control plane, after the changes", &measured.control_changed),
    ];
    for (_, name, memory) in memory {
        row(name, &memory.cells());
    }
    let rss = |memory: &Memory| memory.rss < AIM_RSS_MIB;
    let p99 = changes["all"]["applied_p99_ms"].as_f64().unwrap_or(f64::MAX);
    let met = [
        ("sync", measured.empty.live < AIM_SYNC_MS),
        ("change", p99 < AIM_CHANGE_MS),
        ("rss", rss(&measured.agent_synced) && rss(&measured.agent_changed)),
    ];
    ui::say(format!(
        "aims: live in {AIM_SYNC_MS} ms ({}), p99 of a change in the agent {AIM_CHANGE_MS} ms \
         ({}), resident {AIM_RSS_MIB} MiB ({})",
        verdict(met[0].1),
        verdict(met[1].1),
        verdict(met[2].1)
    ));
    json!({
        "services": size.services,
        "endpoints": endpoints,
        "load_s": measured.load_s,
        "start_empty": start_json(&measured.empty),
        "start_kept": start_json(&measured.restart),
        "changes": changes,
        "memory": memory.map(|(key, _, memory)| (key.to_owned(), memory.json()))
            .into_iter().collect::<serde_json::Map<_, _>>(),
        "aims": {
            "sync_ms": AIM_SYNC_MS,
            "change_p99_ms": AIM_CHANGE_MS,
            "rss_mib": AIM_RSS_MIB,
        },
        "aims_met": met.map(|(key, met)| (key.to_owned(), json!(met)))
            .into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn start_json(start: &Start) -> Value {
    json!({
        "ready_ms": start.ready,
        "live_ms": start.live,
        "applied_ms": start.applied,
    })
}

fn change(name: &str, changed: &[&Changed]) -> Value {
    let outside = Figures::new(changed.iter().map(|it| it.end_to_end_ms).collect());
    let inside = Figures::new(changed.iter().map(|it| it.applied_ms).collect());
    let of = |figures: &Figures| [figures.median(), figures.percentile(99), figures.max()];
    let mut cells = vec![changed.len().to_string()];
    cells.extend([of(&outside), of(&inside)].concat().iter().map(|ms| format!("{ms:.2}")));
    row(name, &cells);
    json!({
        "count": changed.len(),
        "end_to_end_p50_ms": outside.median(),
        "end_to_end_p99_ms": outside.percentile(99),
        "end_to_end_max_ms": outside.max(),
        "applied_p50_ms": inside.median(),
        "applied_p99_ms": inside.percentile(99),
        "applied_max_ms": inside.max(),
    })
}
