//! The aggregation behind a lock, and everybody who follows it: the log, metrics, watches, the
//! agents, and the control plane's own checks.
//!
//! ```text
//! agents, own checks, writer ─► Aggregator ─► log, metrics, watches: at once
//!                                         └─► snapshot for the agents: within DEBOUNCE
//! ```

mod look;
mod publish;
mod take;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::model::{Health, Label, ObjectName, ObjectRef};
use mesh_api::wire;
use mesh_xds::snapshot::Snapshot;
use tokio::sync::{Notify, broadcast, watch};

use super::aggregate::{Aggregator, Finding, Source, Subject};
use super::metrics::{HealthMetrics, name_of};
use super::show::{self, Resources};
use crate::world::World;
pub use look::Tally;

/// Changes within this time go to the agents together.
pub const DEBOUNCE: Duration = Duration::from_millis(10);
/// Most agents that report at a time.
pub const MAX_AGENTS: usize = 10_000;
/// Claims of an agent that are taken in at a time.
const PIECE: usize = 1_000;
/// Events that a watch may be behind.
const MAX_BEHIND: usize = 8_192;

/// Health of all endpoints that are checked.
#[derive(Debug)]
pub struct HealthBook {
    state: Mutex<State>,
    resources: Resources,
    /// Something is to be published, or the next thing to do has another time.
    wake: Notify,
    events: broadcast::Sender<Arc<wire::HealthEvent>>,
    /// For the agents; nothing during the warm-up.
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    /// Moves when the control plane may have other endpoints to check.
    targets: watch::Sender<u64>,
    metrics: HealthMetrics,
    /// When the warm-up is over.
    warm_at: Instant,
}

#[derive(Debug, Default)]
struct State {
    aggregator: Aggregator,
    /// Services with a health check.
    checked: BTreeSet<ObjectName>,
    guards: BTreeMap<Label, wire::NodeGuards>,
    /// Endpoints whose status may be another one than what agents have.
    unpublished: BTreeSet<ObjectName>,
    /// The coverage that was announced last.
    coverage: u64,
}

/// The report of an agent.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// Its node.
    pub node: Label,
    /// Whether it is all that the node checks.
    pub full: bool,
    /// How long it is good for.
    pub ttl: Duration,
    /// What was found.
    pub findings: Vec<(ObjectName, Finding)>,
    /// What is no longer checked.
    pub gone: Vec<ObjectName>,
    /// Breakers that are not closed, and ejections.
    pub guards: wire::NodeGuards,
}

/// There are too many agents.
#[derive(Debug, thiserror::Error)]
#[error("{MAX_AGENTS} agents report already: no more are listened to")]
pub struct TooMany;

impl HealthBook {
    /// The endpoints of this world; nothing is known of any. Agents are told nothing before the
    /// warm-up is over, so that reports can come in first.
    #[must_use]
    pub fn new(world: &World, warm_up: Duration, metrics: HealthMetrics, now: Instant) -> Self {
        let book = Self {
            state: Mutex::default(),
            resources: Resources::new(),
            wake: Notify::new(),
            events: broadcast::Sender::new(MAX_BEHIND),
            snapshots: watch::Sender::new(None),
            targets: watch::Sender::new(0),
            metrics,
            warm_at: now.checked_add(warm_up).unwrap_or(now),
        };
        book.change(now, |state| state.take_all(world, now));
        book
    }

    /// What agents are sent.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.subscribe()
    }

    /// Moves when the control plane may have other endpoints to check.
    #[must_use]
    pub fn targets(&self) -> watch::Receiver<u64> {
        self.targets.subscribe()
    }

    /// When the warm-up is over.
    #[must_use]
    pub const fn warm_at(&self) -> Instant {
        self.warm_at
    }

    /// Takes over what a commit has changed.
    pub fn configured(
        &self,
        world: &World,
        changed: impl Iterator<Item: Borrow<ObjectRef>>,
        now: Instant,
    ) {
        self.change(now, |state| state.take(world, changed, now));
    }

    /// Takes the report of an agent in. Returns whether the next one must be full.
    pub fn heard(&self, report: AgentReport, now: Instant) -> Result<bool, TooMany> {
        self.change(now, |state| {
            let aggregator = &mut state.aggregator;
            if !aggregator.is_alive(&report.node) && aggregator.agents() >= MAX_AGENTS {
                return Err(TooMany);
            }
            let AgentReport { node, full, ttl, findings, gone, guards } = report;
            let send_all = aggregator.heard(&node, (full, ttl), findings, gone, now);
            if aggregator.is_alive(&node) {
                self.guard(state, &node, guards);
            }
            Ok(send_all)
        })
    }

    /// Takes over what the control plane's own checks have found.
    pub fn found(&self, findings: Vec<(ObjectName, Finding)>, now: Instant) {
        self.change(now, |state| {
            for (name, finding) in findings {
                state.aggregator.report(&Source::ControlPlane, &name, finding, now);
            }
        });
    }

    /// The control plane does not check these any more, and what it knows of them is void.
    pub fn stopped(&self, names: impl IntoIterator<Item = ObjectName>, now: Instant) {
        self.change(now, |state| {
            for name in names {
                state.aggregator.withdraw(&Source::ControlPlane, &name, now);
            }
        });
    }

    /// The control plane leaves this one to its agent; what it knows of it stays until anybody
    /// decides.
    pub fn handed_over(&self, name: &ObjectName, now: Instant) {
        self.change(now, |state| state.aggregator.hand_over(name, now));
    }

    /// What an agent says it was told before the control plane was restarted, as names and
    /// versions. Counts during the warm-up only: later it may be old.
    pub fn recall(&self, claimed: &HashMap<String, String>, now: Instant) {
        if now >= self.warm_at {
            return;
        }
        // Without the lock: an agent claims every endpoint, and after a start all agents do.
        let claimed = claimed.iter().filter_map(|(name, version)| {
            let status = self.resources.status_of(version)?;
            Some((name.parse().ok()?, status))
        });
        let claimed: Vec<(ObjectName, Health)> = claimed.collect();
        for piece in claimed.chunks(PIECE) {
            self.change(now, |state| {
                for (name, status) in piece {
                    state.aggregator.recall(name, *status, now);
                }
            });
        }
    }

    /// What is known, and everything that follows.
    #[must_use]
    pub fn watch(
        &self,
        now: Instant,
    ) -> (Vec<wire::HealthEvent>, broadcast::Receiver<Arc<wire::HealthEvent>>) {
        let state = self.lock();
        let views = state.aggregator.views(now);
        let views = views.map(|view| show::endpoint_event(&view.subject.name, Some(&view)));
        let guards = state.guards.values().cloned().map(show::guards_event);
        (views.chain(guards).collect(), self.events.subscribe())
    }

    /// Endpoints whose agent does not say what they are.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Subject> {
        self.lock().aggregator.uncovered().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells everybody what has come of it.
    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        for moved in state.aggregator.take_transitions() {
            self.metrics.moved(moved.to);
            log(&moved);
        }
        let changed = state.aggregator.take_changed();
        if self.events.receiver_count() > 0 {
            for name in &changed {
                let view = state.aggregator.view(name, now);
                self.tell(show::endpoint_event(name, view.as_ref()));
            }
        }
        state.unpublished.extend(changed);
        self.metrics.observe(state.aggregator.counts(), state.aggregator.agents());
        let coverage = state.aggregator.coverage();
        let covers = state.coverage != coverage;
        state.coverage = coverage;
        drop(state);
        if covers {
            self.targets.send_modify(|serial| *serial += 1);
        }
        self.wake.notify_one();
        result
    }

    fn guard(&self, state: &mut State, node: &Label, guards: wire::NodeGuards) {
        let before = state.guards.remove(node);
        let empty = guards.guards.is_empty() && guards.omitted == 0;
        if !empty {
            state.guards.insert(node.clone(), guards.clone());
        }
        if !empty || before.is_some() {
            self.tell(show::guards_event(guards));
        }
    }

    fn tell(&self, event: wire::HealthEvent) {
        // Fails only where nobody watches.
        self.events.send(Arc::new(event)).unwrap_or_default();
    }
}

/// The first word about an endpoint that is well is nothing that anybody waits for, and after a
/// start there are as many as endpoints.
fn log(moved: &super::aggregate::Transition) {
    let (from, to) = (name_of(moved.from), name_of(moved.to));
    let source = moved.source.as_ref().map(ToString::to_string).unwrap_or_default();
    let (endpoint, service, reason) = (&moved.endpoint, &moved.service, &moved.reason);
    match (moved.from, moved.to) {
        (None, Some(Health::Healthy)) => {
            tracing::debug!(%endpoint, %service, from, to, reason, source, "health");
        }
        (_, Some(Health::Unhealthy)) => {
            tracing::warn!(%endpoint, %service, from, to, reason, source, "health");
        }
        _ => tracing::info!(%endpoint, %service, from, to, reason, source, "health"),
    }
}
