//! What a look has found of the connections of a client to a service, and what it says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::accel::AutoKey;
use mesh_common::service::ServiceIndex;

use super::judge::Cause;
use super::traffic::{Kind, Traffic};

/// One of `LEFT_PART` accelerated connections that has gone over to TCP speaks against.
const LEFT_PART: usize = 4;
/// One bulk connection of so many that are not speaks against.
const BULK_PART: usize = 4;

/// A socket of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has `O_NONBLOCK`.
    EventDriven,
    /// It has not.
    Blocking,
    /// It, or a process that holds it, was not found.
    Missing,
}

/// A connection at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Cookie of the client's socket.
    pub cookie: u64,
    /// What it was made to.
    pub service: ServiceIndex,
    /// Cgroup of the client; none where its socket or process was not found.
    pub cgroup: Option<u64>,
    /// How long it has been open.
    pub age: Duration,
    /// The client's socket.
    pub client: End,
    /// The server's.
    pub server: End,
    /// Whether one of both has an upper layer protocol.
    pub upper_layer: bool,
    /// What it has carried since it was made.
    pub traffic: Traffic,
    /// Whether any of it is redirected.
    pub redirected: bool,
    /// Whether it has gone over to TCP after some was.
    pub left: bool,
}

/// What is remembered of a connection until it is looked at again.
#[derive(Clone, Copy, Debug)]
struct Memory {
    traffic: Traffic,
    left: bool,
    missing: bool,
}

/// What was seen of all connections of a client to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Connections whose client blocks.
    pub blocking_clients: usize,
    /// Connections whose server blocks.
    pub blocking_servers: usize,
    /// Connections with an upper layer protocol.
    pub upper_layer: usize,
    /// Connections with an end that was not found, for the second time.
    pub unknown: usize,
    /// The same for the first time: it may just have ended.
    pub unsure: usize,
    /// Connections that are long-lived and chatty.
    pub chatty: usize,
    /// Connections that are bulk now.
    pub bulk: usize,
    /// Connections that are redirected.
    pub redirected: usize,
    /// Connections that have gone over to TCP since the last look.
    pub left: usize,
    /// Too many connections to the service ended soon.
    pub short_lived: bool,
}

/// What evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It speaks for acceleration.
    For,
    /// It is not enough to begin with, and no reason to end.
    Neither,
    /// It speaks against.
    Against(Cause),
}

impl Evidence {
    /// What it says; the gravest first.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.blocking_clients > 0 {
            Verdict::Against(Cause::BlockingClient)
        } else if self.blocking_servers > 0 {
            Verdict::Against(Cause::BlockingServer)
        } else if self.upper_layer > 0 {
            Verdict::Against(Cause::UpperLayer)
        } else if self.unknown > 0 {
            Verdict::Against(Cause::Unknown)
        } else if self.left > 0 && self.left * LEFT_PART >= self.left + self.redirected {
            Verdict::Against(Cause::Window)
        } else if self.bulk > 0 && self.bulk * BULK_PART >= self.chatty {
            Verdict::Against(Cause::Bulk)
        } else if self.short_lived {
            Verdict::Against(Cause::ShortLived)
        } else if self.unsure == 0 && self.chatty > 0 {
            Verdict::For
        } else {
            Verdict::Neither
        }
    }
}

/// Turns what looks find into evidence; remembers connections as long as they are open.
#[derive(Debug, Default)]
pub struct Records {
    before: BTreeMap<u64, Memory>,
}

impl Records {
    /// What the connections of a look say, by client. `long` is how long a long-lived connection has
    /// been open; of services in `short_lived` too many connections ended soon. What was not found
    /// twice and belongs to nobody speaks against everybody that uses the service. `open` are the
    /// cookies of all connections, also of those that were not looked at.
    pub fn weigh(
        &mut self,
        connections: &[Connection],
        long: Duration,
        short_lived: &BTreeSet<ServiceIndex>,
        open: &BTreeSet<u64>,
    ) -> BTreeMap<AutoKey, Evidence> {
        self.before.retain(|cookie, _| open.contains(cookie));
        let mut evidence: BTreeMap<AutoKey, Evidence> = BTreeMap::new();
        let mut nobodys: BTreeMap<ServiceIndex, usize> = BTreeMap::new();
        for connection in connections {
            let Connection { cookie, service, cgroup, age, client, server, .. } = *connection;
            let Connection { traffic, redirected, left, .. } = *connection;
            let missing = client == End::Missing || server == End::Missing;
            let before = self.before.insert(cookie, Memory { traffic, left, missing });
            let unknown = missing && before.is_some_and(|before| before.missing);
            let Some(cgroup) = cgroup else {
                if unknown {
                    *nobodys.entry(service).or_default() += 1;
                }
                continue;
            };
            let found = evidence.entry(AutoKey { cgroup, service, pad: 0 }).or_default();
            found.blocking_clients += usize::from(client == End::Blocking);
            found.blocking_servers += usize::from(server == End::Blocking);
            found.upper_layer += usize::from(connection.upper_layer);
            found.unknown += usize::from(unknown);
            found.unsure += usize::from(missing && !unknown);
            found.redirected += usize::from(redirected && !left);
            found.left += usize::from(left && before.is_none_or(|before| !before.left));
            let recent = before.map_or(traffic, |before| traffic.since(before.traffic)).kind();
            found.bulk += usize::from(recent == Kind::Bulk);
            let chatty = age >= long && traffic.kind() == Kind::Chatty && recent != Kind::Bulk;
            found.chatty += usize::from(chatty);
        }
        for (key, found) in &mut evidence {
            found.unknown += nobodys.get(&key.service).copied().unwrap_or(0);
            found.short_lived = short_lived.contains(&key.service);
        }
        evidence
    }
}

/// At most so many cookies, in order, beginning behind the one that was last the last time, so that
/// every one gets its turn.
#[must_use]
pub fn turn(cookies: &BTreeSet<u64>, last: u64, most: usize) -> Vec<u64> {
    let behind = cookies.range(last.saturating_add(1)..);
    let around = cookies.range(..=last);
    behind.chain(around).take(most).copied().collect()
}

#[cfg(test)]
mod tests;
