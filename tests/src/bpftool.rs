//! What `bpftool` says: the view of the maps that every operator has.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::bins;

/// `bpftool -j <args>` as JSON.
pub fn json(args: &[&str]) -> anyhow::Result<Value> {
    let text = call(&[&["-j"], args].concat())?;
    serde_json::from_str(&text).with_context(|| format!("bpftool {}", args.join(" ")))
}

/// `bpftool <args>` as text.
pub fn call(args: &[&str]) -> anyhow::Result<String> {
    let program = bins::in_path("bpftool").context("needs `bpftool`: apt-get install bpftool")?;
    let output = Command::new(program).args(args).output().context("bpftool")?;
    if !output.status.success() {
        bail!(
            "bpftool {}: {} {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All entries of a pinned map. With BTF, each has a `formatted` part with named fields.
pub fn dump(pin: &Path) -> anyhow::Result<Vec<Value>> {
    let pin = pin.to_string_lossy();
    let dump = json(&["map", "dump", "pinned", &pin])?;
    let entries = dump.as_array().context("bpftool printed no list")?;
    Ok(entries.clone())
}

/// The program behind a pinned link: its id.
pub fn program_of_link(pin: &Path) -> anyhow::Result<u64> {
    let pin = pin.to_string_lossy();
    let link = json(&["link", "show", "pinned", &pin])?;
    link.get("prog_id").and_then(Value::as_u64).with_context(|| format!("no program behind {pin}"))
}

/// Nanoseconds and runs of a program since statistics were switched on.
pub fn run_stats(program: u64) -> anyhow::Result<(u64, u64)> {
    let shown = json(&["prog", "show", "id", &program.to_string()])?;
    let field = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap_or(0);
    Ok((field("run_time_ns"), field("run_cnt")))
}
