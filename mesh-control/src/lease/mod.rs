//! Endpoints that live as long as heartbeats come. Pure: `now` is passed in; what has expired is
//! handed out, and whoever asked deletes it from the store.
//!
//! Leases are not stored. After a restart every endpoint with a TTL gets a fresh lease: while the
//! control plane was away nobody could send heartbeats.

mod book;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub use book::LeaseBook;
use mesh_api::model::ObjectName;

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    leases: BTreeMap<ObjectName, Lease>,
    /// The same, soonest first.
    deadlines: BTreeSet<(Instant, ObjectName)>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
}

impl Leases {
    /// Gives an endpoint a lease from now on, or takes it away where it is permanent.
    pub fn set(&mut self, name: &ObjectName, ttl: Option<Duration>, now: Instant) {
        self.remove(name);
        if let Some(ttl) = ttl {
            let deadline = now + ttl;
            self.deadlines.insert((deadline, name.clone()));
            self.leases.insert(name.clone(), Lease { ttl, deadline });
        }
    }

    /// Prolongs a lease by its TTL from now on, and returns the TTL. Also one that is overdue,
    /// as long as it has not been handed out by [`Leases::take_expired`].
    pub fn heartbeat(&mut self, name: &ObjectName, now: Instant) -> Option<Duration> {
        let ttl = self.leases.get(name)?.ttl;
        self.set(name, Some(ttl), now);
        Some(ttl)
    }

    /// Forgets a lease.
    pub fn remove(&mut self, name: &ObjectName) {
        if let Some(Lease { ttl: _, deadline }) = self.leases.remove(name) {
            self.deadlines.remove(&(deadline, name.clone()));
        }
    }

    /// Forgets the leases that are over, and names their endpoints.
    pub fn take_expired(&mut self, now: Instant) -> Vec<ObjectName> {
        let mut expired = Vec::new();
        while let Some((deadline, name)) = self.deadlines.first()
            && *deadline <= now
        {
            expired.push(name.clone());
            let name = name.clone();
            self.remove(&name);
        }
        expired
    }

    /// When the next lease is over, unless a heartbeat comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Makes the leases those of these endpoints: new ones start now, known ones go on.
    pub fn sync(
        &mut self,
        endpoints: impl Iterator<Item = (ObjectName, Option<Duration>)>,
        now: Instant,
    ) {
        let mut gone: BTreeSet<ObjectName> = self.leases.keys().cloned().collect();
        for (name, ttl) in endpoints {
            gone.remove(&name);
            let known = self.leases.get(&name).map(|lease| lease.ttl);
            if known != ttl {
                self.set(&name, ttl, now);
            }
        }
        for name in gone {
            self.remove(&name);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}
