//! How many instructions the kernel's verifier walks through for each program, against the
//! recorded maximum: a program that grows is seen when it grows, not when it no longer loads.
//!
//! The verifier differs between kernels; the file says which one it was recorded on. After a
//! change that is worth its instructions: `MESH_UPDATE_BUDGET=1 cargo test -p mesh-tests --test
//! budget`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use aya::programs::loaded_programs;
use mesh_common::names;
use mesh_tests::testbed::Testbed;
use mesh_tests::{bpftool, ui};
use serde::{Deserialize, Serialize};

/// The recorded file.
#[derive(Debug, Deserialize, Serialize)]
struct Budget {
    /// Kernel that it was recorded on.
    kernel: String,
    /// Program → most instructions.
    verified_instructions: BTreeMap<String, u32>,
}

#[test]
fn every_program_stays_within_its_budget() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("budget.json");
    let measured = measure()?;
    let kernel = kernel()?;
    if env::var_os("MESH_UPDATE_BUDGET").is_some() {
        let budget = Budget { kernel, verified_instructions: measured };
        fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&budget)?))?;
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let budget: Budget = serde_json::from_str(&text)?;
    let (table, problems) = compare(&measured, &budget.verified_instructions);
    ui::note(table);
    assert!(
        problems.is_empty(),
        "on kernel {kernel} (recorded on {}):\n{}\nMESH_UPDATE_BUDGET=1 records what is there now",
        budget.kernel,
        problems.join("\n")
    );
    Ok(())
}

/// The running kernel's version, without what its builder calls it.
fn kernel() -> anyhow::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    Ok(release.get(..end).unwrap_or_default().to_owned())
}

/// Verified instructions of each attached program, as the kernel keeps them (since 5.16).
fn measure() -> anyhow::Result<BTreeMap<String, u32>> {
    let bed = Testbed::start("budget")?;
    let links = bed.node.pins().join(names::LINKS_DIR);
    let mut measured = BTreeMap::new();
    for name in names::PROGRAMS {
        let id = bpftool::program_of_link(&links.join(name))?;
        for program in loaded_programs() {
            let program = program?;
            if u64::from(program.id()) == id {
                let count = program.verified_instruction_count();
                let count = count.context("this kernel does not tell verified instructions")?;
                measured.insert(name.to_owned(), count);
            }
        }
    }
    Ok(measured)
}

/// A table of both, and what is wrong.
fn compare(
    measured: &BTreeMap<String, u32>,
    budget: &BTreeMap<String, u32>,
) -> (String, Vec<String>) {
    let mut table = format!("{:<24}{:>10}{:>10}\n", "program", "verified", "budget");
    let mut problems = Vec::new();
    for (program, count) in measured {
        let limit = budget.get(program);
        let shown = limit.map_or_else(|| "-".to_owned(), u32::to_string);
        // Writing to a string cannot fail.
        writeln!(table, "{program:<24}{count:>10}{shown:>10}").ok();
        match limit {
            None => problems.push(format!("{program} is not in the file")),
            Some(limit) if count > limit => problems.push(format!(
                "{program}: {count} instructions, {} over its budget",
                count - limit
            )),
            Some(_) => {}
        }
    }
    for program in budget.keys().filter(|program| !measured.contains_key(*program)) {
        problems.push(format!("{program} is in the file, but is not attached"));
    }
    (table, problems)
}

#[test]
fn over_budget_missing_and_stale_are_all_told() {
    let map = |pairs: &[(&str, u32)]| {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let measured = map(&[("a", 11), ("b", 10), ("c", 1)]);
    let budget = map(&[("a", 10), ("b", 10), ("d", 1)]);
    let (table, problems) = compare(&measured, &budget);
    assert_eq!(table.lines().count(), 4);
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, start) in problems.iter().zip(["a: 11", "c is not", "d is in"]) {
        assert!(problem.starts_with(start), "{problem}");
    }
}
