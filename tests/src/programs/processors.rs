//! Who has had the processors: a wait on a machine that others keep busy tells nothing.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::stats::float;

/// Sums since the machine's start, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processors {
    all: u64,
    idle: u64,
    /// Those of one cgroup.
    own: u64,
}

/// Of the times in `/proc/stat`: 10 ms each on every architecture (`USER_HZ`).
const TICK_US: u64 = 10_000;

impl Processors {
    pub(super) fn now(cgroup: &Path) -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        // `cpu user nice system idle iowait irq softirq steal`, and guests, which are in user.
        let line = stat.lines().next().context("an empty /proc/stat")?;
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        let idle = ticks.get(3..5).context("a short line in /proc/stat")?.iter().sum::<u64>();
        let usage = fs::read_to_string(cgroup.join("cpu.stat"))?;
        let usage = usage.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Self {
            all: ticks.iter().sum::<u64>() * TICK_US,
            idle: idle * TICK_US,
            own: usage.context("no usage in cpu.stat")?.parse()?,
        })
    }

    /// The share of all processors that neither idled nor worked for the cgroup.
    pub(super) fn others_since(self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let others = all
            .saturating_sub(self.idle.saturating_sub(before.idle))
            .saturating_sub(self.own.saturating_sub(before.own));
        float(others) / float(all.max(1))
    }
}
