//! The control plane's own checks: of endpoints whose agent does not say what they are.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::model::ObjectName;
use mesh_health::checker::{Checker, Event, Handle, Settings, Target, Targets};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::aggregate::Finding;
use super::book::HealthBook;
use super::metrics::HealthMetrics;
use super::target::place;
use crate::world::World;

/// Most checks at a time.
const MOST: usize = 512;
/// Changes of what is to be checked within this time are taken together.
const SETTLE: Duration = Duration::from_millis(100);
/// Events taken at a time.
const PIECE: usize = 1_000;

/// Has the endpoints checked whose agent does not say what they are. Those that name a node are left to its agent
/// until the warm-up is over.
#[derive(Debug)]
pub struct Prober {
    book: Arc<HealthBook>,
    worlds: watch::Receiver<Arc<World>>,
    checks: Handle,
    events: UnboundedReceiver<Event>,
    /// Endpoints that are checked.
    checked: BTreeSet<ObjectName>,
    /// Endpoints that cannot be checked from here, and why.
    unchecked: BTreeMap<ObjectName, String>,
}

impl Prober {
    /// Who decides what is checked, and who checks.
    #[must_use]
    pub fn new(
        book: Arc<HealthBook>,
        worlds: watch::Receiver<Arc<World>>,
        metrics: &HealthMetrics,
        random01: fn() -> f64,
    ) -> (Self, Checker) {
        let metrics = metrics.probes.clone();
        let settings = Settings { most: MOST, prepare: None, metrics, random01 };
        let (checks, checker, events) = Checker::new(settings);
        let prober = Self {
            book,
            worlds,
            checks,
            events,
            checked: BTreeSet::new(),
            unchecked: BTreeMap::new(),
        };
        (prober, checker)
    }

    /// Works until the shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut targets = self.book.targets();
        loop {
            targets.mark_unchanged();
            let warm = Instant::now() >= self.book.warm_at();
            self.retarget(warm).await;
            let settle = loop {
                let mut events = Vec::new();
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    changed = targets.changed() => match changed {
                        Ok(()) => break SETTLE,
                        Err(_) => return,
                    },
                    () = tokio::time::sleep_until(self.book.warm_at().into()), if !warm => {
                        break Duration::ZERO;
                    }
                    count = self.events.recv_many(&mut events, PIECE) => {
                        if count == 0 {
                            return;
                        }
                        self.take(events);
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(settle) => {}
            }
        }
    }

    /// Has exactly those checked that are to be.
    async fn retarget(&mut self, warm: bool) {
        let world = Arc::clone(&self.worlds.borrow());
        let mut shared = HashMap::new();
        let mut targets = Targets::new();
        let mut unchecked = BTreeMap::new();
        for subject in self.book.uncovered() {
            if subject.node.is_some() && !warm {
                continue;
            }
            match place(&world, &subject) {
                Ok((address, check)) => {
                    let check =
                        shared.entry(subject.service).or_insert_with(|| Arc::new(check.clone()));
                    let check = Arc::clone(check);
                    targets.insert(subject.name, Target { address, check, prepared: false });
                }
                Err(reason) => drop(unchecked.insert(subject.name, reason)),
            }
        }
        self.checked = targets.keys().cloned().collect();
        self.checks.set_targets(targets);
        let now = Instant::now();
        let before = std::mem::replace(&mut self.unchecked, unchecked);
        let not_any_more = before.into_keys().filter(|name| !self.unchecked.contains_key(name));
        self.book.stopped(not_any_more.collect::<Vec<_>>(), now);
        self.explain(self.unchecked.keys());
        self.repeat().await;
    }

    /// Says again what is known: of an endpoint that was not to be checked for a moment, the
    /// checks have kept their status.
    async fn repeat(&mut self) {
        let statuses = self.checks.statuses().await;
        // What has happened meanwhile is newer.
        let mut events = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        let newer: BTreeSet<&ObjectName> = events.iter().map(of).collect();
        let old = statuses.into_iter().filter(|(name, _)| !newer.contains(name));
        let findings = old.filter(|(_, status)| status.health.is_some()).map(|(name, status)| {
            let finding = Finding {
                status: status.health,
                reason: status.reason,
                since: status.since.into_std(),
                latency_us: status.latency.map_or(0, microseconds),
            };
            (name, finding)
        });
        self.book.found(findings.collect(), Instant::now());
        self.take(events);
    }

    fn take(&self, events: Vec<Event>) {
        let now = Instant::now();
        for event in events {
            match event {
                Event::Changed(changed) => {
                    let finding = Finding {
                        status: Some(changed.to),
                        reason: changed.reason,
                        since: now,
                        latency_us: microseconds(changed.latency),
                    };
                    self.book.found(vec![(changed.endpoint, finding)], now);
                }
                Event::Gone(name) => {
                    // It is at another address, or nothing can be found out about it from here.
                    if self.checked.contains(&name) || self.unchecked.contains_key(&name) {
                        self.book.stopped([name.clone()], now);
                        self.explain(std::iter::once(name));
                    } else {
                        self.book.handed_over(&name, now);
                    }
                }
            }
        }
    }

    /// Says of which it is not known, and why.
    fn explain(&self, names: impl Iterator<Item: Borrow<ObjectName>>) {
        let now = Instant::now();
        let findings = names.filter_map(|name| {
            let name = name.borrow();
            let reason = self.unchecked.get(name)?.clone();
            Some((name.clone(), Finding { status: None, reason, since: now, latency_us: 0 }))
        });
        self.book.found(findings.collect(), now);
    }
}

const fn of(event: &Event) -> &ObjectName {
    match event {
        Event::Changed(changed) => &changed.endpoint,
        Event::Gone(name) => name,
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
