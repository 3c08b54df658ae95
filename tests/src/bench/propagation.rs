//! From YAML to the kernel: how long `meshctl apply --wait` takes, the whole process included,
//! with the pinned maps read after each to see that the new weights are there.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::row;
use crate::manifest::Manifest;
use crate::maps::PolicyMaps;
use crate::stats::Figures;
use crate::testbed::{Testbed, VIP, backend};
use crate::ui;

/// Aim for p99, milliseconds.
const AIM_MS: f64 = 50.0;

/// Starts of `meshctl` that do nothing, to tell the process's share.
const EMPTY_CALLS: u32 = 50;

pub(super) fn run(applies: u32) -> anyhow::Result<Value> {
    let bed = Testbed::start_with("propagation", &[])?;
    bed.apply_split(&[("v1", 1), ("v2", 1)])?;
    let maps = PolicyMaps::open(&bed.node)?;

    let mut empty = Vec::new();
    for _ in 0..EMPTY_CALLS {
        empty.push(ms(bed.meshctl.ok(&["version"])?.took));
    }
    let mut took = Vec::new();
    for round in 0..applies {
        let (one, two) = (1 + round % 89, 1 + round % 97);
        let weights = [("v1", one), ("v2", two)];
        let said = bed.meshctl.apply(&Manifest::new().split("web", &weights))?;
        took.push(ms(said.took));
        let shares = maps.shares(VIP)?;
        let wanted = f64::from(two) / f64::from(one + two);
        let found = shares.get(&IpAddr::V4(backend(1))).copied().unwrap_or(0.0);
        ensure!(
            (found - wanted).abs() < 1e-6,
            "apply {round} returned, but the kernel gives v2 a share of {found}, not {wanted}"
        );
    }

    let (took, empty) = (Figures::new(took), Figures::new(empty));
    ui::say(format!(
        "{applies} applies of changed weights, each found in the kernel's maps on return:"
    ));
    row("", &["p50", "p90", "p99", "max"].map(str::to_owned));
    table("meshctl apply --wait, process included (ms)", &took);
    table("meshctl version: the process alone (ms)", &empty);
    ui::say(format!("aim: p99 below {AIM_MS} ms"));
    Ok(json!({
        "applies": applies,
        "verified_in_kernel": applies,
        "p50_ms": took.percentile(50),
        "p90_ms": took.percentile(90),
        "p99_ms": took.percentile(99),
        "max_ms": took.max(),
        "mean_ms": took.mean(),
        "empty_process_p50_ms": empty.median(),
        "aim_p99_ms": AIM_MS,
        "aim_met": took.percentile(99) < AIM_MS,
    }))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn table(name: &str, figures: &Figures) {
    let cells = [50, 90, 99, 100].map(|percent| format!("{:.2}", figures.percentile(percent)));
    row(name, &cells);
}
