//! When sockets of removed backends are due: a state machine over the backends that are marked
//! REMOVED in the maps. Pure; `now` is any clock that only goes forward.
//!
//! ```text
//! seen ─ UDP at once, TCP after drainTimeout ─► due ─ looks without failure ─► settled
//!                                                │ too many failures in a row
//!                                                └─► given up
//! ```
//!
//! Nothing has to be kept over a restart: what is still marked in the maps is seen again, and
//! a TCP connection then gets its whole timeout once more.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::model::Protocol;
use mesh_common::backend::{Backend, BackendIndex};

/// A backend as the records of sockets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// Index into the map.
    pub index: BackendIndex,
    /// Tells earlier holders of the index apart.
    pub generation: u32,
}

/// A backend that is marked REMOVED in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The backend.
    pub backend: BackendId,
    /// Its address, never a mapped one.
    pub address: SocketAddr,
    /// Its transport.
    pub protocol: Protocol,
    /// How long TCP connections may go on; absent: until they end on their own. Datagram
    /// sockets get no time.
    pub drain_timeout: Option<Duration>,
}

impl Removal {
    /// Of an entry of the map that is marked REMOVED.
    #[must_use]
    pub fn new(
        index: BackendIndex,
        backend: &Backend,
        protocol: Protocol,
        drain_timeout: Option<Duration>,
    ) -> Self {
        Self {
            backend: BackendId { index, generation: backend.generation },
            address: SocketAddr::new(backend.addr.to_ip(), backend.port),
            protocol,
            drain_timeout,
        }
    }

    const fn grace(&self) -> Option<Duration> {
        match self.protocol {
            Protocol::Tcp => self.drain_timeout,
            Protocol::Udp => Some(Duration::ZERO),
        }
    }
}

/// Pauses between looks that did not fail: a `connect()` that chose just before the removal may
/// become visible after the first.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// Pause after the first failure; doubles with each.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST: Duration = Duration::from_mins(1);
/// Failures in a row after which it is given up.
pub(super) const MOST_FAILURES: u32 = 8;

/// How a look at a due backend's sockets went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing was left to do, or everything was done.
    Done,
    /// Something may be left: try again.
    Failed,
    /// This kernel cannot do it: do not try again.
    Impossible,
}

/// The schedule.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    entries: BTreeMap<BackendId, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    removal: Removal,
    since: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not looked at yet.
    Waiting,
    /// Looked at `looks` times without failure, and then `failures` times with; once more at
    /// `next`.
    Looking { looks: usize, failures: u32, next: Duration },
    /// Nothing more to do.
    Settled,
    /// Too much went wrong.
    GivenUp,
}

impl Drain {
    /// Takes over what is removed now. What was not there before is seen from `now` on; what is
    /// there no more (freed, or serving again) is forgotten.
    pub fn sync(&mut self, now: Duration, removed: &[Removal]) {
        let mut before = std::mem::take(&mut self.entries);
        for removal in removed {
            let entry = match before.remove(&removal.backend) {
                Some(entry) => Entry { removal: *removal, ..entry },
                None => Entry { removal: *removal, since: now, stage: Stage::Waiting },
            };
            self.entries.insert(removal.backend, entry);
        }
    }

    /// What is to be looked at now.
    #[must_use]
    pub fn due(&self, now: Duration) -> Vec<Removal> {
        let due = |entry: &&Entry| entry.next().is_some_and(|next| next <= now);
        self.entries.values().filter(due).map(|entry| entry.removal).collect()
    }

    /// When something will be due next, if nothing changes.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.entries.values().filter_map(Entry::next).min()
    }

    /// Notes how a look went. Returns whether the backend has been given up with it.
    pub fn looked(&mut self, now: Duration, backend: BackendId, look: Look) -> bool {
        let Some(entry) = self.entries.get_mut(&backend) else { return false };
        entry.stage = entry.stage.after(now, look);
        entry.stage == Stage::GivenUp
    }
}

impl Entry {
    fn next(&self) -> Option<Duration> {
        match self.stage {
            Stage::Waiting => self.since.checked_add(self.removal.grace()?),
            Stage::Looking { next, .. } => Some(next),
            Stage::Settled | Stage::GivenUp => None,
        }
    }
}

impl Stage {
    fn after(self, now: Duration, look: Look) -> Self {
        let (looks, failures) = match self {
            Self::Waiting => (0, 0),
            Self::Looking { looks, failures, .. } => (looks, failures),
            Self::Settled | Self::GivenUp => return self,
        };
        match look {
            Look::Done => match LOOKS.get(looks) {
                Some(pause) => Self::Looking {
                    looks: looks + 1,
                    failures: 0,
                    next: now.saturating_add(*pause),
                },
                None => Self::Settled,
            },
            Look::Failed if failures + 1 < MOST_FAILURES => {
                let pause = RETRY.saturating_mul(1 << failures).min(LONGEST);
                Self::Looking { looks, failures: failures + 1, next: now.saturating_add(pause) }
            }
            Look::Failed | Look::Impossible => Self::GivenUp,
        }
    }
}
