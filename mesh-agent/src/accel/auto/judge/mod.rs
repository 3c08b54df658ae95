//! From what each look has found of a client and a service to whether its connections are
//! accelerated. Pure; `now` is any clock that only goes forward.
//!
//! ```text
//!            looks in a row that speak for it           a sign against
//! watched ────────────────────────────────► granted ───────────────────► barred, longer each time
//!    ▲                                         │ no connection for a while      │
//!    └─────────────────────────────────────────┴────────────────────────────────┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::accel::AutoKey;
use mesh_common::service::ServiceIndex;

use super::Settings;
use super::evidence::{Evidence, Verdict, Weighed};
use super::why::Why;

/// Why a client's connections are no longer accelerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A client's socket blocks.
    BlockingClient,
    /// A server's socket blocks.
    BlockingServer,
    /// A socket has an upper layer protocol, such as kernel TLS.
    UpperLayer,
    /// No process, or no server's socket, was found for a connection.
    Unknown,
    /// Connections end too soon.
    ShortLived,
    /// They carry much, with few turns.
    Bulk,
    /// Readers fell behind, so that connections went over to TCP.
    Window,
    /// No connection has been there for a while.
    Idle,
    /// The service has gone, or no longer leaves it to the agent.
    Service,
    /// The agent could not look, or not write the map.
    Blind,
}

impl Cause {
    /// All of them, with their names in metrics and log lines.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::BlockingClient, "blocking_client"),
        (Self::BlockingServer, "blocking_server"),
        (Self::UpperLayer, "upper_layer"),
        (Self::Unknown, "unknown_process"),
        (Self::ShortLived, "short_lived"),
        (Self::Bulk, "bulk"),
        (Self::Window, "window"),
        (Self::Idle, "idle"),
        (Self::Service, "service"),
        (Self::Blind, "blind"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(cause, _)| *cause == self).map_or("unknown", |(_, name)| name)
    }

    /// Whether it speaks against the programs, so that it is not tried again soon.
    pub(super) const fn is_against(self) -> bool {
        !matches!(self, Self::Idle | Self::Service | Self::Blind)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Accelerate new connections of this client to this service.
    Grant(AutoKey),
    /// Accelerate none of them any more.
    Withdraw(AutoKey, Cause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// So many looks in a row have not spoken against it, and so many of them, at which it was its
    /// turn, for it.
    Watched { looks: u32, good: u32 },
    /// Since when, and when a connection was seen last.
    Granted { since: Duration, seen: Duration },
    /// Not before then.
    Barred { until: Duration },
}

/// Nothing is known of it.
const NEW: Phase = Phase::Watched { looks: 0, good: 0 };

#[derive(Clone, Copy, Debug)]
struct Client {
    phase: Phase,
    /// How often it was granted in vain.
    failures: u32,
    /// When that is forgotten.
    remembered: Duration,
    /// Why it is not granted, if it has connections.
    why: Option<Why>,
}

impl Client {
    fn withdrawn(self, now: Duration, cause: Cause, settings: &Settings) -> Self {
        let Phase::Granted { since, .. } = self.phase else { return self };
        if !cause.is_against() {
            return Self { phase: NEW, ..self };
        }
        // What went well for so long was no mistake.
        let went_well = now.saturating_sub(since).as_nanos() >= settings.longest.as_nanos();
        let failures = if went_well { 0 } else { self.failures };
        let until = now.saturating_add(settings.back_off(failures));
        Self {
            phase: Phase::Barred { until },
            failures: failures.saturating_add(1),
            remembered: until.saturating_add(settings.longest),
            ..self
        }
    }
}

/// The clients, and what is thought of them.
#[derive(Debug)]
pub struct Judge {
    settings: Settings,
    clients: BTreeMap<AutoKey, Client>,
    /// Services with connections of which no client was found.
    unclaimed: usize,
}

impl Judge {
    /// Nothing is granted yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, clients: BTreeMap::new(), unclaimed: 0 }
    }

    /// Judges anew after a look: at `services`, of which `weighed` has every client that is known to
    /// have connections. It is granted after enough looks at it, and when each connection to the
    /// service has had its turn meanwhile. Withdrawals come first.
    pub fn look(
        &mut self,
        now: Duration,
        services: &BTreeSet<ServiceIndex>,
        weighed: &Weighed,
    ) -> Vec<Step> {
        let evidence = &weighed.clients;
        let (mut withdrawn, mut granted) = (Vec::new(), Vec::new());
        for key in evidence.keys().filter(|key| services.contains(&key.service)) {
            let new = Client { phase: NEW, failures: 0, remembered: Duration::ZERO, why: None };
            self.clients.entry(*key).or_insert(new);
        }
        let settings = &self.settings;
        for (key, client) in &mut self.clients {
            let found = evidence.get(key);
            let verdict = found.map(Evidence::verdict);
            if let Phase::Barred { until } = client.phase
                && until <= now
            {
                client.phase = NEW;
            }
            if weighed.renewed.contains(&key.service)
                && let Phase::Watched { .. } = client.phase
            {
                client.phase = NEW;
            }
            match client.phase {
                Phase::Barred { .. } => {}
                Phase::Watched { looks, good } if verdict == Some(Verdict::For) => {
                    let looked = found.is_some_and(|found| found.looked);
                    let rotation = found.map_or(u32::MAX, |found| found.rotation);
                    let good = good.saturating_add(u32::from(looked));
                    let looks = looks.saturating_add(1);
                    client.phase = if good >= settings.looks && looks >= rotation {
                        granted.push(Step::Grant(*key));
                        Phase::Granted { since: now, seen: now }
                    } else {
                        Phase::Watched { looks, good }
                    };
                }
                Phase::Watched { .. } => client.phase = NEW,
                Phase::Granted { since, seen } => {
                    let cause = match verdict {
                        _ if !services.contains(&key.service) => Some(Cause::Service),
                        Some(Verdict::Against(cause)) => Some(cause),
                        Some(Verdict::For | Verdict::Neither) => {
                            client.phase = Phase::Granted { since, seen: now };
                            None
                        }
                        // One of those may be its.
                        None if weighed.waiting.contains(&key.service) => None,
                        None => {
                            (now.saturating_sub(seen) >= settings.forget).then_some(Cause::Idle)
                        }
                    };
                    if let Some(cause) = cause {
                        *client = client.withdrawn(now, cause, settings);
                        withdrawn.push(Step::Withdraw(*key, cause));
                    }
                }
            }
            client.why = match client.phase {
                Phase::Granted { .. } => None,
                Phase::Watched { .. } => found.map(|found| Why::of(found, false)),
                Phase::Barred { .. } => found.map(|found| Why::of(found, true)),
            };
        }
        self.unclaimed = weighed.unclaimed.len();
        self.clients.retain(|key, client| {
            let watched = matches!(client.phase, Phase::Watched { .. });
            let of_use = client.failures > 0 && now < client.remembered;
            let there = evidence.contains_key(key);
            services.contains(&key.service) && (!watched || of_use || there)
        });
        withdrawn.extend(granted);
        withdrawn
    }

    /// Nothing could be seen, or what is granted could not be written: nothing is granted any more.
    pub fn blind(&mut self, now: Duration) -> Vec<Step> {
        let granted: Vec<AutoKey> = self.granted().collect();
        for key in &granted {
            self.take_back(now, *key, Cause::Blind);
        }
        self.unclaimed = 0;
        for why in self.clients.values_mut().filter_map(|client| client.why.as_mut()) {
            *why = Why::Sign(Cause::Blind);
        }
        granted.into_iter().map(|key| Step::Withdraw(key, Cause::Blind)).collect()
    }

    /// Somebody else has taken it out of the map, or it could not be put in.
    pub fn take_back(&mut self, now: Duration, key: AutoKey, cause: Cause) {
        if let Some(client) = self.clients.get_mut(&key) {
            *client = client.withdrawn(now, cause, &self.settings);
            let blind = cause == Cause::Blind;
            client.why = Some(if blind { Why::Sign(cause) } else { Why::Looking });
        }
    }

    /// What is granted.
    pub fn granted(&self) -> impl Iterator<Item = AutoKey> + '_ {
        let is_granted = |client: &Client| matches!(client.phase, Phase::Granted { .. });
        self.clients.iter().filter(move |(_, client)| is_granted(client)).map(|(key, _)| *key)
    }

    /// How many clients with connections are not granted, by reason. Where none of a service is found,
    /// it counts as one.
    #[must_use]
    pub fn not_granted(&self) -> BTreeMap<Why, u64> {
        let unclaimed = std::iter::repeat_n(Why::Sign(Cause::Unknown), self.unclaimed);
        let mut count = BTreeMap::new();
        for why in self.clients.values().filter_map(|client| client.why).chain(unclaimed) {
            *count.entry(why).or_default() += 1;
        }
        count
    }
}
