//! The demo: a real service split 90/10 by the kernel, shifted live to 50/50, and served on
//! while the agent is dead. Every figure is checked; a broken promise makes it fail.

mod report;
mod story;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use crate::ui;

/// Split a real service in the kernel, shift it live, and kill the agent under traffic.
#[derive(Debug, Parser)]
#[command(name = "mesh-demo")]
pub struct Cli {
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the demo to its end.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let report = story::tell()?;
    if let Some(path) = &cli.json {
        write_json(path, &report.to_json())?;
    }
    ui::say("");
    ui::promises(&report.broken_promises())
}

/// Writes figures as indented JSON.
pub fn write_json(path: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    let text = format!("{value:#}\n");
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
