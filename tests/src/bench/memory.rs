//! Resident memory of a process, by what backs it.

use std::fs;

use anyhow::Context as _;
use serde_json::{Value, json};

/// MiB, as `/proc/PID/status` has them (proc(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Resident now: the sum of the next three.
    pub(super) rss: f64,
    /// Heap and stacks.
    pub(super) anon: f64,
    /// The program itself, and mapped files.
    pub(super) file: f64,
    /// Shared mappings.
    pub(super) shmem: f64,
    /// Most that was ever resident.
    pub(super) peak: f64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        parse(&status).with_context(|| format!("{path} lacks a line"))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "rss_mib": self.rss,
            "anon_mib": self.anon,
            "file_mib": self.file,
            "shmem_mib": self.shmem,
            "peak_mib": self.peak,
        })
    }

    pub(super) fn cells(&self) -> Vec<String> {
        [self.rss, self.anon, self.file, self.shmem, self.peak]
            .map(|mib| format!("{mib:.1}"))
            .to_vec()
    }
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Some(Memory {
        rss: field("VmRSS")?,
        anon: field("RssAnon")?,
        file: field("RssFile")?,
        shmem: field("RssShmem")?,
        peak: field("VmHWM")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_our_own() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.rss > 0.0 && memory.peak >= memory.rss, "{memory:?}");
        assert!((memory.anon + memory.file + memory.shmem - memory.rss).abs() < 1.0, "{memory:?}");
    }

    #[test]
    fn a_line_that_is_missing_is_missed() {
        assert_eq!(parse("VmRSS:\t1024 kB\n"), None);
    }
}
