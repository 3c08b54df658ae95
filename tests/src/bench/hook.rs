//! The kernel's own account of the time inside BPF programs.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use crate::stats::float;

/// Statistics are kept while this lives.
pub(super) struct Account(#[expect(dead_code, reason = "held, not read")] OwnedFd);

/// Nanoseconds and runs of a program, as far as they have been counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    ns: u128,
    runs: u64,
}

/// The account of all programs, by id.
pub(super) type Readings = BTreeMap<u32, Reading>;

impl Account {
    pub(super) fn open() -> anyhow::Result<Self> {
        let fd = enable_stats(Stats::RunTime).context("switching on BPF statistics")?;
        Ok(Self(fd))
    }

    /// Reads the account of all programs, by id.
    #[expect(clippy::unused_self, reason = "there is no account without statistics")]
    pub(super) fn read(&self) -> anyhow::Result<Readings> {
        let mut readings = BTreeMap::new();
        for info in loaded_programs() {
            let info = info?;
            let reading = Reading { ns: info.run_time().as_nanos(), runs: info.run_count() };
            readings.insert(info.id(), reading);
        }
        Ok(readings)
    }
}

/// What a program did between two readings: nanoseconds in it, and runs.
pub(super) fn between(program: u32, before: &Readings, after: &Readings) -> (f64, u64) {
    let old = before.get(&program).copied().unwrap_or_default();
    let new = after.get(&program).copied().unwrap_or_default();
    let ns = u64::try_from(new.ns.saturating_sub(old.ns)).unwrap_or(u64::MAX);
    (float(ns), new.runs.saturating_sub(old.runs))
}
