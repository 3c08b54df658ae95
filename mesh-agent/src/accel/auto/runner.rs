//! Looks again and again, and writes what follows into the map. On a thread of its own: it waits for
//! namespaces and reads many files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use mesh_common::accel::AutoKey;
use tokio::sync::watch;

use super::Settings;
use super::census::Incarnation;
use super::evidence::{Records, Seen};
use super::judge::{Cause, Judge, Step};
use super::look::{Eyes, LookError};
use super::metrics::Figures;
use super::troubles::{Task, Troubles};
use crate::bpf::auto::AutoMaps;
use crate::maps::MapError;
use crate::maps::kernel::affinity::monotonic;

struct Runner {
    settings: Settings,
    maps: AutoMaps,
    eyes: Eyes,
    records: Records,
    judge: Judge,
    figures: Figures,
    started: Instant,
    troubles: Troubles,
}

/// Works until the other end of `alive` is dropped; however it ends, no client is left in the map
/// then. cgroup v2 is mounted at `cgroups`.
pub fn run(
    maps: AutoMaps,
    cgroups: PathBuf,
    settings: Settings,
    alive: &Receiver<()>,
    figures: &watch::Sender<Figures>,
) {
    let mut runner = Runner {
        settings,
        maps,
        eyes: Eyes::new(settings, cgroups),
        records: Records::default(),
        judge: Judge::new(settings),
        figures: Figures::default(),
        started: Instant::now(),
        troubles: Troubles::default(),
    };
    while alive.recv_timeout(runner.settings.interval) == Err(RecvTimeoutError::Timeout) {
        runner.look();
        figures.send_replace(runner.figures.clone());
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Err(error) = self.maps.clients.clear() {
            tracing::error!("clients stay accelerated that nobody looks at any more: {error}");
        }
    }
}

impl Runner {
    fn look(&mut self) {
        let start = Instant::now();
        let now = start.duration_since(self.started);
        let seen = monotonic().map_err(LookError::from);
        let seen = seen.and_then(|clock| self.eyes.look(&self.maps, clock));
        self.note(Task::Look, &seen);
        let (steps, backends) = match seen {
            Ok(seen) => (self.weigh(now, &seen), seen.backends),
            Err(_) => (self.judge.blind(now), BTreeMap::new()),
        };
        for step in steps {
            match step {
                Step::Grant(client) => {
                    let on = backends.get(&client.service).cloned().unwrap_or_default();
                    self.grant(now, client, &on);
                }
                Step::Withdraw(client, cause) => self.withdraw(client, cause),
            }
        }
        let agreed = self.agree(now);
        self.note(Task::Agree, &agreed);
        self.figures.granted = u64::try_from(self.judge.granted().count()).unwrap_or(u64::MAX);
        self.figures.not_granted = self.judge.not_granted();
        tracing::debug!(took = ?start.elapsed(), "looked at connections with acceleration Auto");
    }

    fn weigh(&mut self, now: Duration, seen: &Seen) -> Vec<Step> {
        self.figures.looks += u64::from(!seen.services.is_empty());
        let weighed = self.records.weigh(seen, self.settings.long);
        self.judge.look(now, &seen.services, &weighed)
    }

    /// `on` are the backends of which the look has told.
    fn grant(&mut self, now: Duration, client: AutoKey, on: &BTreeSet<Incarnation>) {
        let granted = self.maps.grant(client, on);
        self.note(Task::Grant, &granted);
        match granted {
            Ok(true) => {
                self.figures.grants += 1;
                let (cgroup, service) = (client.cgroup, client.service.index);
                tracing::info!(cgroup, service, "accelerating new connections of a client");
            }
            // Another service may have the index by now, of which nothing is known.
            Ok(false) => self.judge.take_back(now, client, Cause::Service),
            Err(_) => self.judge.take_back(now, client, Cause::Blind),
        }
    }

    fn withdraw(&mut self, client: AutoKey, cause: Cause) {
        let (cgroup, service) = (client.cgroup, client.service.index);
        // What cannot be removed now is not granted, and so is removed with the next look.
        let removed = self.maps.clients.remove(client);
        self.note(Task::Withdraw, &removed);
        *self.figures.withdrawals.entry(cause).or_default() += 1;
        let cause = cause.name();
        tracing::info!(cgroup, service, cause, "a client is no longer accelerated");
    }

    /// Makes map and judgement agree, whoever has changed the map.
    fn agree(&mut self, now: Duration) -> Result<(), MapError> {
        let there = self.maps.clients.all()?;
        let granted: Vec<_> = self.judge.granted().collect();
        for client in granted.iter().filter(|client| !there.contains(client)) {
            self.judge.take_back(now, *client, Cause::Service);
            self.withdraw(*client, Cause::Service);
        }
        for client in there.iter().filter(|client| !granted.contains(client)) {
            self.maps.clients.remove(*client)?;
        }
        Ok(())
    }

    /// Says a trouble once.
    fn note<T, E: ToString>(&mut self, task: Task, outcome: &Result<T, E>) {
        if let Some(trouble) = self.troubles.hear(task, outcome) {
            tracing::warn!("cannot judge clients of services with acceleration Auto: {trouble}");
        }
    }
}
