//! An agent against the real control plane with a large world: how long until everything is in
//! the kernel, how long one change takes, and how much memory both processes need.

mod log;
mod report;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use self::log::Applied;
use super::api::Api;
use super::memory::Memory;
use super::world;
use crate::control::ControlPlane;
use crate::node::{HTTP, Node};
use crate::{http, testbed, ui};

/// How large a world.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// Services with ten endpoints each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) services: u32,
    /// Changes of one endpoint each, after the world is live.
    #[arg(long, default_value_t = 300)]
    pub(super) changes: u32,
}

/// Longest wait for an agent that takes over the whole world.
const PATIENCE: Duration = Duration::from_mins(3);
const NODE: &str = "scale";

/// What is measured of a start of the agent, in milliseconds from the start of its process.
pub(super) struct Start {
    /// Until it is ready: the maps hold a complete state.
    ready: f64,
    /// Until the control plane knows that the newest revision is live.
    live: f64,
    /// From the first message of the push to written maps, by the agent's own clock; 0 where
    /// nothing had to be pushed.
    applied: f64,
}

/// One change of one endpoint.
pub(super) struct Changed {
    kind: Kind,
    /// From the call of the API to the answer that it is live, milliseconds.
    end_to_end_ms: f64,
    /// From the message to written maps, by the agent's own clock, milliseconds.
    applied_ms: f64,
}

/// What is changed about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Weight,
    Removed,
    Added,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Weight, Self::Removed, Self::Added];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Removed => "removed",
            Self::Added => "added",
        }
    }
}

/// All figures of a run.
pub(super) struct Measured {
    /// Loading the world into the control plane, seconds.
    load_s: f64,
    empty: Start,
    restart: Start,
    changed: Vec<Changed>,
    agent_synced: Memory,
    agent_changed: Memory,
    agent_restarted: Memory,
    control_loaded: Memory,
    control_changed: Memory,
}

pub(super) fn run(size: &Size) -> anyhow::Result<Value> {
    let netns = testbed::namespace("scale")?;
    let control = ControlPlane::start(&netns)?;
    let mut api = Api::connect(&netns)?;
    ui::note(format!("loading {} services", size.services));
    let started = Instant::now();
    let revision = api.apply_all(world::objects(size.services))?;
    let load_s = started.elapsed().as_secs_f64();
    let control_loaded = Memory::of(control.id()?)?;

    ui::note("starting an agent that knows nothing");
    let flags = world::agent_flags(size.services);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut node = Node::prepare(&netns, NODE, &flags)?;
    let empty = start(&mut node, &mut api, revision)?;
    let agent_synced = Memory::of(node.id()?)?;

    ui::note(format!("changing {} endpoints, one at a time", size.changes));
    let (changed, revision) = change(&node, &mut api, size, revision)?;
    let agent_changed = Memory::of(node.id()?)?;
    let control_changed = Memory::of(control.id()?)?;

    ui::note("restarting the agent on what it has kept");
    node.stop()?;
    let restart = start(&mut node, &mut api, revision)?;
    let agent_restarted = Memory::of(node.id()?)?;
    Ok(report::tell(
        &Measured {
            load_s,
            empty,
            restart,
            changed,
            agent_synced,
            agent_changed,
            agent_restarted,
            control_loaded,
            control_changed,
        },
        size,
    ))
}

/// Starts the agent and waits until it serves `revision`.
fn start(node: &mut Node, api: &mut Api, revision: u64) -> anyhow::Result<Start> {
    let mut lines = log::Follower::at_end(node);
    let started = Instant::now();
    node.run()?;
    let ready = |node: &Node| http::get_ok(node.netns(), HTTP, "/healthz/ready").is_ok();
    while !ready(node) {
        if started.elapsed() > PATIENCE {
            bail!("the agent is not ready after {PATIENCE:?}{}", node.tail());
        }
        node.check_running()?;
        std::thread::sleep(Duration::from_millis(5));
    }
    let ready = ms(started);
    api.wait_node(NODE, revision)?;
    let live = ms(started);
    let applied = lines.read()?.iter().fold(0.0, |sum, applied| sum + applied.took_ms);
    Ok(Start { ready, live, applied })
}

/// Changes one endpoint after the other; returns the last revision as well.
fn change(
    node: &Node,
    api: &mut Api,
    size: &Size,
    mut revision: u64,
) -> anyhow::Result<(Vec<Changed>, u64)> {
    let endpoints = size.services * world::BACKENDS;
    let mut lines = log::Follower::at_end(node);
    let mut changed = Vec::new();
    for (round, kind) in (0..size.changes).zip(Kind::ALL.into_iter().cycle()) {
        // What was removed comes back in the next round.
        let at = (round - u32::from(kind == Kind::Added)) * 7_919 % endpoints;
        let started = Instant::now();
        revision = match kind {
            Kind::Weight => api.apply(vec![world::endpoint(at, 2 + round)])?,
            Kind::Removed => api.delete_endpoint(&world::endpoint_name(at))?,
            Kind::Added => api.apply(vec![world::endpoint(at, 1)])?,
        };
        api.wait_live(revision)?;
        let end_to_end_ms = ms(started);
        let applied = lines.read()?;
        let Some(Applied { took_ms, .. }) =
            applied.iter().find(|applied| applied.revision == revision)
        else {
            bail!("the agent's log does not say how long revision {revision} took");
        };
        changed.push(Changed { kind, end_to_end_ms, applied_ms: *took_ms });
    }
    Ok((changed, revision))
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
