//! The future that does the checks: starts those that are due, takes results, passes changes on.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mesh_api::model::{Health, HealthCheck, ObjectName};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Command, Event, Handle, Metrics, Settings, Status, Target, Targets, Transition};
use crate::probe::{self, Kind, Outcome, Prepare};
use crate::schedule::{CheckId, Rhythm, Schedule};
use crate::threshold::{Rules, Threshold};

/// How often it may say that checks cannot be done.
const COMPLAIN: Duration = Duration::from_secs(10);
/// How long the timer sleeps where nothing is due.
const FAR: Duration = Duration::from_hours(1);

/// Does the checks.
#[derive(Debug)]
pub struct Checker {
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    metrics: Metrics,
    prepare: Option<Prepare>,
    random01: fn() -> f64,
    start: Instant,
    schedule: Schedule,
    ids: HashMap<ObjectName, CheckId>,
    /// By place of the check.
    entries: Vec<Option<Entry>>,
    complained: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    id: CheckId,
    name: ObjectName,
    target: Target,
    /// A result of a check that began before the target changed does not count.
    version: u32,
    threshold: Threshold,
    status: Status,
}

/// A check under way.
struct Begun {
    id: CheckId,
    version: u32,
    outcome: Outcome,
}

impl Checker {
    /// Nothing to check yet. Returns what tells it, the work, and what comes of it.
    #[must_use]
    pub fn new(settings: Settings) -> (Handle, Self, mpsc::UnboundedReceiver<Event>) {
        let Settings { most, prepare, metrics, random01 } = settings;
        let (sender, commands) = mpsc::unbounded_channel();
        let (events, happened) = mpsc::unbounded_channel();
        let checker = Self {
            commands,
            events,
            metrics,
            prepare,
            random01,
            start: Instant::now(),
            schedule: Schedule::new(most),
            ids: HashMap::new(),
            entries: Vec::new(),
            complained: None,
        };
        (Handle { commands: sender }, checker, happened)
    }

    /// Checks until all handles are gone. Checks under way end with it.
    pub async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        loop {
            let now = self.start.elapsed();
            while let Some(due) = self.schedule.pop(now, self.random01) {
                let Some(entry) = entry(&mut self.entries, due.check) else {
                    self.schedule.done(due.check);
                    continue;
                };
                self.metrics.begun(due.late);
                let prepare = || self.prepare.clone().unwrap_or_else(cannot_prepare);
                let prepare = entry.target.prepared.then(prepare);
                let (id, version, target) = (entry.id, entry.version, entry.target.clone());
                under_way.push(begin(id, version, target.address, target.check, prepare));
            }
            let skipped = self.schedule.take_skipped();
            self.metrics.skipped("busy", skipped.busy);
            self.metrics.skipped("late", skipped.missed);
            let next = self.schedule.next_due().unwrap_or_else(|| now.saturating_add(FAR));
            if timer.deadline() != self.start + next {
                timer.as_mut().reset(self.start + next);
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(begun) = under_way.next() => self.take(begun),
                () = &mut timer => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Set(targets) => self.set(targets),
            Command::Change(changes) => {
                for (name, target) in changes {
                    match target {
                        Some(target) => self.put(name, target),
                        None => self.remove(&name),
                    }
                }
            }
            Command::Statuses(reply) => {
                let entries = self.entries.iter().flatten();
                let all = entries.map(|entry| (entry.name.clone(), entry.status.clone()));
                // Whoever asked may have gone.
                drop(reply.send(all.collect()));
            }
        }
        self.metrics.targets(self.schedule.len());
    }

    fn set(&mut self, targets: Targets) {
        let gone: Vec<_> =
            self.ids.keys().filter(|name| !targets.contains_key(*name)).cloned().collect();
        for name in gone {
            self.remove(&name);
        }
        for (name, target) in targets {
            self.put(name, target);
        }
    }

    fn put(&mut self, name: ObjectName, target: Target) {
        let known = self.ids.get(&name).and_then(|id| entry(&mut self.entries, *id));
        let Some(known) = known else { return self.insert(name, target) };
        if known.target.address != target.address {
            self.remove(&name);
            return self.insert(name, target);
        }
        if known.target == target {
            return;
        }
        if known.target.prepared != target.prepared {
            // Whom a check under way reaches is not known.
            known.version = known.version.wrapping_add(1);
        }
        if known.target.check != target.check {
            known.threshold.restart(target.check.initial);
            known.version = known.version.wrapping_add(1);
            let (before, after) = (rhythm(&known.target.check), rhythm(&target.check));
            if before != after {
                self.schedule.retime(known.id, after, self.start.elapsed(), (self.random01)());
            }
        }
        known.target = target;
    }

    fn insert(&mut self, name: ObjectName, target: Target) {
        let rhythm = rhythm(&target.check);
        let id = self.schedule.insert(rhythm, self.start.elapsed(), (self.random01)());
        let entry = Entry {
            id,
            name: name.clone(),
            version: 0,
            threshold: Threshold::new(target.check.initial),
            status: Status {
                health: None,
                reason: String::new(),
                since: Instant::now(),
                latency: None,
                checked: None,
            },
            target,
        };
        match self.entries.get_mut(id.place()) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.ids.insert(name, id);
    }

    fn remove(&mut self, name: &ObjectName) {
        let Some(id) = self.ids.remove(name) else { return };
        self.schedule.remove(id);
        let gone = self.entries.get_mut(id.place()).and_then(Option::take);
        if gone.is_some_and(|entry| entry.status.health.is_some()) {
            self.tell(Event::Gone(name.clone()));
        }
    }

    fn take(&mut self, begun: Begun) {
        let Begun { id, version, outcome } = begun;
        self.schedule.done(id);
        let Some(entry) = entry(&mut self.entries, id) else { return };
        self.metrics.probed(&entry.target.check.probe, &outcome);
        if entry.version != version {
            return;
        }
        let now = Instant::now();
        let Outcome { result, latency } = outcome;
        if let Err(failure) = &result
            && failure.kind() == Kind::Local
        {
            // It says nothing about the endpoint: what was decided stays.
            let quiet = self.complained.is_some_and(|last| now.duration_since(last) < COMPLAIN);
            if !quiet {
                self.complained = Some(now);
                tracing::warn!(endpoint = %entry.name, "{failure}");
            }
            return;
        }
        let status = &mut entry.status;
        status.checked = Some(now);
        match &result {
            Ok(()) => status.latency = Some(latency),
            Err(failure) if failure.kind() != Kind::Timeout => status.latency = Some(latency),
            Err(_) => {}
        }
        let rules = Rules::from(&*entry.target.check);
        let decision = entry.threshold.record(rules, result.is_ok());
        status.health = entry.threshold.decided();
        match &result {
            Err(failure) if status.health == Some(Health::Unhealthy) => {
                status.reason = failure.to_string();
            }
            Ok(()) if status.health == Some(Health::Healthy) => status.reason.clear(),
            Ok(()) | Err(_) => {}
        }
        let Some(decision) = decision else { return };
        status.since = now;
        let transition = Transition {
            endpoint: entry.name.clone(),
            address: entry.target.address,
            from: decision.from,
            to: decision.to,
            reason: status.reason.clone(),
            latency,
        };
        self.tell(Event::Changed(transition));
    }

    fn tell(&self, event: Event) {
        // Nobody has to listen.
        self.events.send(event).unwrap_or_default();
    }
}

/// For targets that must not be checked with a socket as it is.
fn cannot_prepare() -> Prepare {
    Prepare::new(|_socket| Err(io::Error::other("there is no way to")))
}

async fn begin(
    id: CheckId,
    version: u32,
    address: SocketAddr,
    check: Arc<HealthCheck>,
    prepare: Option<Prepare>,
) -> Begun {
    let outcome = probe::run(address, &check, prepare.as_ref()).await;
    Begun { id, version, outcome }
}

fn entry(entries: &mut [Option<Entry>], id: CheckId) -> Option<&mut Entry> {
    entries.get_mut(id.place())?.as_mut().filter(|entry| entry.id == id)
}

const fn rhythm(check: &HealthCheck) -> Rhythm {
    Rhythm { interval: check.interval, jitter_percent: check.jitter_percent }
}
