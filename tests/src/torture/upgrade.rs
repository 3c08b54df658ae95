//! What is done to the agent, and what it must be afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mesh_common::names;
use serde_json::Value;

use super::load::Load;
use crate::bpftool;
use crate::scratch::Scratch;
use crate::testbed::{SMALL, Testbed};

/// One thing that is done to the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// SIGTERM, then started again.
    Restart,
    /// SIGKILL, then started again.
    Kill,
    /// SIGTERM, then started with another object file, and maps of another size.
    Replace,
}

/// What was done and seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) restarts: u32,
    pub(super) kills: u32,
    pub(super) replacements: u32,
    /// Time without an agent, and exchanges in it.
    pub(super) without_agent: Duration,
    pub(super) exchanges_without_agent: u64,
    /// From starting the agent to its readiness.
    pub(super) slowest_start: Duration,
}

/// Flags of the agent's other form: larger maps.
const LARGE: [&str; 6] = ["--max-services", "300", "--max-backends", "900", "--max-slots", "4096"];

/// Does it, and keeps count.
#[derive(Debug)]
pub(super) struct Upgrades {
    object: PathBuf,
    _scratch: Scratch,
    figures: Figures,
    /// Size of the map of services at the beginning.
    small: u64,
}

impl Upgrades {
    pub(super) fn new(bed: &Testbed) -> anyhow::Result<Self> {
        let scratch = Scratch::create("torture")?;
        let object = scratch.path().join("other.bpf.o");
        fs::copy(built_object()?, &object).context("copying the eBPF object")?;
        let small = size_of_services(bed)?;
        Ok(Self { object, _scratch: scratch, figures: Figures::default(), small })
    }

    pub(super) fn act(
        &mut self,
        bed: &mut Testbed,
        load: &Load,
        action: Action,
    ) -> anyhow::Result<()> {
        let programs = programs(bed)?;
        match action {
            Action::Restart => bed.node.stop()?,
            Action::Kill => bed.node.kill()?,
            Action::Replace => {
                bed.node.stop()?;
                self.change_flags(bed)?;
            }
        }
        let (gone, before) = (Instant::now(), load.so_far());
        load.progress(20)?;
        self.figures.without_agent += gone.elapsed();
        self.figures.exchanges_without_agent += load.so_far().saturating_sub(before);

        let started = Instant::now();
        bed.node.run()?;
        bed.node.wait_ready()?;
        self.figures.slowest_start = self.figures.slowest_start.max(started.elapsed());
        // Every start replaces the programs behind the links that stay.
        ensure!(programs != self::programs(bed)?, "{action:?} left the old programs in place");
        match action {
            Action::Restart => self.figures.restarts += 1,
            Action::Kill => self.figures.kills += 1,
            Action::Replace => {
                self.figures.replacements += 1;
                let size = size_of_services(bed)?;
                let right = if self.is_large() { size > self.small } else { size == self.small };
                ensure!(right, "the maps hold {size} services after {} at first", self.small);
            }
        }
        load.progress(5)
    }

    pub(super) fn into_figures(self) -> Figures {
        self.figures
    }

    /// Does the present number of replacements mean the large form?
    const fn is_large(&self) -> bool {
        self.figures.replacements % 2 == 1
    }

    /// Turns from one form of the agent to the other.
    fn change_flags(&self, bed: &mut Testbed) -> anyhow::Result<()> {
        let object = self.object.to_str().context("a path that is no text")?;
        let mut flags = vec!["--bpf-object", object];
        if self.is_large() {
            flags = SMALL.to_vec();
        } else {
            flags.extend(LARGE);
        }
        bed.node.set_flags(&flags);
        Ok(())
    }
}

/// The object that the agent under test was built with.
fn built_object() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MESH_BPF_OBJECT") {
        return Ok(path.into());
    }
    let programs = crate::bins::own_dir()?;
    let beside = programs.parent().map(|target| target.join("bpf/mesh.bpf.o"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/mesh.bpf.o");
    let places = beside.into_iter().chain([source]);
    match places.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("the eBPF object is missing: cargo xtask build-ebpf makes it"),
    }
}

/// Ids of the programs behind all pinned links.
fn programs(bed: &Testbed) -> anyhow::Result<Vec<u64>> {
    let links = bed.node.pins().join(names::LINKS_DIR);
    let mut ids = Vec::new();
    for entry in fs::read_dir(&links).with_context(|| format!("read {}", links.display()))? {
        ids.push(bpftool::program_of_link(&entry?.path())?);
    }
    ids.sort_unstable();
    ensure!(!ids.is_empty(), "no links in {}", links.display());
    Ok(ids)
}

/// Size of the map of services, as the kernel has it.
fn size_of_services(bed: &Testbed) -> anyhow::Result<u64> {
    let pin = bed.node.map(names::SERVICES);
    let shown = bpftool::json(&["map", "show", "pinned", &pin.to_string_lossy()])?;
    shown.get("max_entries").and_then(Value::as_u64).context("bpftool shows no size")
}
