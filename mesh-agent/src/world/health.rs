//! Health in the world, and slow start: which endpoints turned healthy lately, and when their
//! shares grow next.
//!
//! - What is said of an endpoint's health is kept by its name, as it is said: before the endpoint
//!   comes, when it moves to another address or service, and after it has gone, until it is taken
//!   back.
//! - An endpoint that was taken for unhealthy and is said to be healthy starts slowly, in steps,
//!   for whichever services send connections there and have a slow start. What was so before this
//!   agent knew the time (at its start) does not. An instance at another address begins anew.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::model::{Health, ObjectName};

use super::{Group, GroupId, World};

/// Steps from nothing to the full share.
pub const STEPS: u32 = 10;

/// Steps end on a grid of this part of the slow start, but of [`LEAST_GRID`] at least, so that
/// endpoints that turned healthy one after another grow together: what sends there is compiled
/// once for all of them.
const GRID_PARTS: u32 = 100;
const LEAST_GRID: Duration = Duration::from_millis(100);

/// How many of [`STEPS`] an endpoint has that turned healthy at that moment; never 0.
fn step(now: Duration, since: Duration, slow_start: Duration) -> u32 {
    (1..STEPS).find(|step| now < end(*step, since, slow_start)).unwrap_or(STEPS)
}

/// When a step ends of an endpoint that turned healthy at that moment.
fn end(step: u32, since: Duration, slow_start: Duration) -> Duration {
    let grid = (slow_start / GRID_PARTS).max(LEAST_GRID).as_nanos();
    let exact = since.saturating_add(slow_start.saturating_mul(step) / STEPS).as_nanos();
    let rounded = exact.div_ceil(grid).saturating_mul(grid);
    Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))
}

/// When its present step ends; `None` where it has all.
fn next_end(now: Duration, since: Duration, slow_start: Duration) -> Option<Duration> {
    (1..STEPS).map(|step| end(step, since, slow_start)).find(|end| *end > now)
}

fn slow_start(group: &Group) -> Option<Duration> {
    group.config.as_ref().and_then(|config| config.load_balancer.slow_start)
}

impl World {
    pub(super) fn set_health(&mut self, name: ObjectName, health: Option<Health>) {
        let owner = self.owners.get(&name).copied();
        let Some(id) = owner else {
            match health {
                Some(health) => self.absent.insert(name, health),
                None => self.absent.remove(&name),
            };
            return;
        };
        let now = self.now;
        let Some(group) = self.group_mut(id) else { return };
        let Some(before) = group.set_health(&name.name, health) else { return };
        let was = group.is_healthy(&before);
        let is = group.member(&name.name).is_some_and(|member| group.is_healthy(member));
        if was == is {
            return;
        }
        group.turned.remove(&name.name);
        if let Some(now) = now.filter(|_| is) {
            self.turn(id, name, now);
        }
        self.calm(id);
        self.touch(id);
    }

    /// An endpoint has turned healthy; it starts slowly where somebody wants that.
    fn turn(&mut self, id: GroupId, name: ObjectName, now: Duration) {
        let slow = self.origin_ids(id).filter_map(|id| self.group(id).and_then(slow_start));
        let Some(end) = slow.filter_map(|slow| next_end(now, now, slow)).min() else { return };
        if let Some(group) = self.group_mut(id) {
            group.turned.insert(name.name, now);
            self.turning.insert(id);
            self.due = Some(self.due.map_or(end, |due| due.min(end)));
        }
    }

    /// After endpoints have been taken out of those that turned healthy lately.
    pub(super) fn calm(&mut self, id: GroupId) {
        if self.group(id).is_none_or(|group| group.turned.is_empty()) {
            self.turning.remove(&id);
        }
        if self.turning.is_empty() {
            self.due = None;
        }
    }

    /// After a change of who starts how slowly.
    pub(super) fn hurry(&mut self) {
        self.due = self.now.filter(|_| !self.turning.is_empty());
    }

    /// The services that send connections to a group's endpoints.
    fn origin_ids(&self, id: GroupId) -> impl Iterator<Item = GroupId> {
        let dependents = self.group(id).map_or(&[][..], |group| &group.dependents);
        std::iter::once(id).chain(dependents.iter().copied())
    }

    /// How many of [`STEPS`] of its share an endpoint gets from a service with this slow start.
    #[must_use]
    pub fn step(&self, turned: Option<Duration>, slow_start: Option<Duration>) -> u32 {
        match (self.now, turned, slow_start) {
            (Some(now), Some(turned), Some(slow)) => step(now, turned, slow),
            _ => STEPS,
        }
    }

    /// Sets the present moment, since any fixed one, and marks the services whose shares grow.
    /// Where none does, that costs nothing; else what the endpoints cost that turned healthy lately.
    pub fn set_time(&mut self, now: Duration) {
        let before = self.now.replace(now).unwrap_or(now);
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        for id in self.turning.clone() {
            let Some(turned) = self.group_mut(id).map(|group| std::mem::take(&mut group.turned))
            else {
                continue;
            };
            let origins: Vec<(GroupId, Duration)> = self
                .origin_ids(id)
                .filter_map(|origin| Some((origin, slow_start(self.group(origin)?)?)))
                .collect();
            for (origin, slow) in &origins {
                let grows = |since| step(before, since, *slow) != step(now, since, *slow);
                if turned.values().copied().any(grows) {
                    self.changed.insert(*origin);
                }
            }
            let next =
                |since| origins.iter().filter_map(move |(_, it)| next_end(now, since, *it)).min();
            let mut left = BTreeMap::new();
            for (name, since) in turned {
                if let Some(next) = next(since) {
                    self.due = Some(self.due.map_or(next, |due| due.min(next)));
                    left.insert(name, since);
                }
            }
            if left.is_empty() {
                self.turning.remove(&id);
            }
            if let Some(group) = self.group_mut(id) {
                group.turned = left;
            }
        }
    }

    /// How long until a share grows again, at the earliest; `None` where none does.
    #[must_use]
    pub fn next_step(&self) -> Option<Duration> {
        Some(self.due?.saturating_sub(self.now?))
    }
}
