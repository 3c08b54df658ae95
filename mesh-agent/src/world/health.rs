//! Health in the world, and slow start: which endpoints turned healthy lately, and when their
//! shares grow next.
//!
//! - What is said of an endpoint's health is kept by its name, as it is said: before the endpoint
//!   comes, when it moves to another address or service, and after it has gone, until it is taken
//!   back.
//! - An endpoint that was taken for unhealthy and is said to be healthy starts slowly, in steps,
//!   for whichever services send connections there and have a slow start. What was so before this
//!   agent knew the time (at its start) does not. An instance at another address begins anew.

use std::time::Duration;

use mesh_api::model::{Health, ObjectName};

use super::{Group, GroupId, World};

/// Steps from nothing to the full share.
pub const STEPS: u32 = 10;

/// How many of [`STEPS`] an endpoint has that turned healthy that long ago; never 0.
fn step(elapsed: Duration, slow_start: Duration) -> u32 {
    (1..STEPS).find(|step| elapsed < end(*step, slow_start)).unwrap_or(STEPS)
}

/// When a step ends, since the endpoint turned healthy.
fn end(step: u32, slow_start: Duration) -> Duration {
    slow_start.saturating_mul(step) / STEPS
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
        group.turned.retain(|(other, _)| *other != name.name);
        let slow = is && self.origins(id).any(|group| slow_start(group).is_some());
        if let Some(now) = now.filter(|_| slow)
            && let Some(group) = self.group_mut(id)
        {
            group.turned.push((name.name, now));
            self.turning.insert(id);
        }
        self.touch(id);
    }

    /// The services that send connections to a group's endpoints.
    fn origins(&self, id: GroupId) -> impl Iterator<Item = &Group> {
        self.origin_ids(id).filter_map(|id| self.group(id))
    }

    fn origin_ids(&self, id: GroupId) -> impl Iterator<Item = GroupId> {
        let dependents = self.group(id).map_or(&[][..], |group| &group.dependents);
        std::iter::once(id).chain(dependents.iter().copied())
    }

    /// How many of [`STEPS`] of its share an endpoint gets from a service with this slow start.
    #[must_use]
    pub fn step(&self, turned: Option<Duration>, slow_start: Option<Duration>) -> u32 {
        match (self.now, turned, slow_start) {
            (Some(now), Some(turned), Some(slow)) => step(now.saturating_sub(turned), slow),
            _ => STEPS,
        }
    }

    /// Sets the present moment, since any fixed one, and marks the services whose shares grow.
    /// Costs what the endpoints cost that turned healthy lately.
    pub fn set_time(&mut self, now: Duration) {
        let before = self.now.replace(now).unwrap_or(now);
        let mut done = Vec::new();
        for id in self.turning.clone() {
            let Some(group) = self.group(id) else { continue };
            let mut longest = Duration::ZERO;
            let mut changed = Vec::new();
            for origin in self.origin_ids(id) {
                let slow = self.group(origin).and_then(slow_start);
                longest = longest.max(slow.unwrap_or_default());
                let steps = |moment: Duration, since: Duration| {
                    slow.map(|slow| step(moment.saturating_sub(since), slow))
                };
                let mut turned = group.turned.iter().map(|(_, since)| *since);
                if turned.any(|since| steps(before, since) != steps(now, since)) {
                    changed.push(origin);
                }
            }
            self.changed.extend(changed);
            if let Some(group) = self.group_mut(id) {
                group.turned.retain(|(_, since)| now.saturating_sub(*since) < longest);
                if group.turned.is_empty() {
                    done.push(id);
                }
            }
        }
        for id in done {
            self.turning.remove(&id);
        }
    }

    /// How long until a share grows again; `None` where none does.
    #[must_use]
    pub fn next_step(&self) -> Option<Duration> {
        let now = self.now?;
        let next = |id: &GroupId| {
            let slow: Vec<Duration> = self.origins(*id).filter_map(slow_start).collect();
            let turned = self.group(*id).map_or(&[][..], |group| &group.turned);
            let ends = turned.iter().flat_map(move |(_, since)| {
                let slow = slow.clone();
                slow.into_iter().flat_map(move |slow| {
                    (1..STEPS).map(move |step| since.saturating_add(end(step, slow)))
                })
            });
            ends.filter(|at| *at > now).min()
        };
        Some(self.turning.iter().filter_map(next).min()?.saturating_sub(now))
    }
}
