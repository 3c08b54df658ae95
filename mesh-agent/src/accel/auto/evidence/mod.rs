//! What a look has found of the connections of a client to a service, and what it says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::accel::AutoKey;
use mesh_common::service::ServiceIndex;

use super::MOST_SOCKETS;
use super::census::Incarnation;
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
    /// Cgroup of the process that holds the client's socket; none where one of both was not found.
    pub cgroup: Option<u64>,
    /// Cgroup that the programs have accelerated it for, which is where the client was when it
    /// connected; none where they have not.
    pub maker: Option<u64>,
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

/// What a look has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Services that leave it to the agent.
    pub services: BTreeSet<ServiceIndex>,
    /// Their backends on this node.
    pub backends: BTreeMap<ServiceIndex, BTreeSet<Incarnation>>,
    /// Those of their connections that were looked at and found.
    pub connections: Vec<Connection>,
    /// Cookies of all that were looked at.
    pub looked: BTreeSet<u64>,
    /// Cookies of all open connections that are to be looked at, each in its turn.
    pub open: BTreeMap<ServiceIndex, BTreeSet<u64>>,
    /// Services of which too many connections ended soon.
    pub short_lived: BTreeSet<ServiceIndex>,
    /// Services with a connection that was looked at and whose client's socket was not found.
    pub lost: BTreeSet<ServiceIndex>,
}

/// What is remembered of a connection until it is looked at again.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    traffic: Traffic,
    left: bool,
    missing: bool,
    /// Whose it is: of the client that made it, and of the one that holds it.
    cgroups: [Option<u64>; 2],
    /// What it says.
    evidence: Evidence,
}

/// What all that is open says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// By client: everyone that has an open connection that was looked at, now or before.
    pub clients: BTreeMap<AutoKey, Evidence>,
    /// Services with connections that nobody has looked at yet: any client's.
    pub waiting: BTreeSet<ServiceIndex>,
    /// Services with connections, none of which is any client's that was found.
    pub unclaimed: BTreeSet<ServiceIndex>,
    /// Services that have none of the backends of the last look: what was seen then says nothing of
    /// them. The index may be another service's.
    pub renewed: BTreeSet<ServiceIndex>,
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
    /// Whether one of the connections was looked at this time, instead of remembered.
    pub looked: bool,
    /// After how many looks each connection to the service has had its turn.
    pub rotation: u32,
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
    /// Counts what another connection says.
    const fn count(&mut self, other: &Self) {
        self.blocking_clients += other.blocking_clients;
        self.blocking_servers += other.blocking_servers;
        self.upper_layer += other.upper_layer;
        self.unknown += other.unknown;
        self.unsure += other.unsure;
        self.chatty += other.chatty;
        self.bulk += other.bulk;
        self.redirected += other.redirected;
        self.left += other.left;
        self.looked |= other.looked;
    }

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
    backends: BTreeMap<ServiceIndex, BTreeSet<Incarnation>>,
}

impl Records {
    /// What all open connections say, by client: those that were looked at now, and what was found
    /// of the others when it was their turn. `long` is how long a long-lived connection has been
    /// open. What was not found twice and belongs to nobody speaks against everybody that uses the
    /// service.
    pub fn weigh(&mut self, seen: &Seen, long: Duration) -> Weighed {
        let open: BTreeSet<u64> = seen.open.values().flatten().copied().collect();
        self.before.retain(|cookie, _| open.contains(cookie));
        for memory in self.before.values_mut() {
            memory.evidence.looked = false;
        }
        for cookie in &seen.looked {
            // What is not found has no client, and is no sign of anything.
            let memory = self.before.entry(*cookie).or_default();
            (memory.cgroups, memory.evidence) = ([None; 2], Evidence::default());
        }
        for connection in &seen.connections {
            let before = self.before.get(&connection.cookie).copied().unwrap_or_default();
            self.before.insert(connection.cookie, Memory::new(connection, before, long));
        }
        let backends = std::mem::replace(&mut self.backends, seen.backends.clone());
        let has_gone = |(service, before): &(ServiceIndex, BTreeSet<Incarnation>)| {
            seen.backends.get(service).is_some_and(|now| now.is_disjoint(before))
        };
        let renewed = backends.into_iter().filter(has_gone).map(|(service, _)| service);
        let mut weighed = Weighed { renewed: renewed.collect(), ..Weighed::default() };
        for (service, cookies) in &seen.open {
            self.service(*service, cookies, seen, &mut weighed);
        }
        weighed
    }

    /// Puts together what the connections to a service say.
    fn service(
        &self,
        service: ServiceIndex,
        cookies: &BTreeSet<u64>,
        seen: &Seen,
        weighed: &mut Weighed,
    ) {
        let (mut nobodys, mut unclaimed) = (0, seen.lost.contains(&service));
        let mut clients: BTreeMap<AutoKey, Evidence> = BTreeMap::new();
        for cookie in cookies {
            let Some(memory) = self.before.get(cookie) else {
                weighed.waiting.insert(service);
                continue;
            };
            for cgroup in memory.cgroups.into_iter().flatten() {
                clients
                    .entry(AutoKey { cgroup, service, pad: 0 })
                    .or_default()
                    .count(&memory.evidence);
            }
            if memory.cgroups == [None; 2] {
                nobodys += memory.evidence.unknown;
                unclaimed |= memory.evidence.unknown > 0;
            }
        }
        if unclaimed && clients.is_empty() {
            weighed.unclaimed.insert(service);
        }
        for found in clients.values_mut() {
            found.unknown += nobodys;
            found.short_lived = seen.short_lived.contains(&service);
            found.rotation =
                u32::try_from(cookies.len().div_ceil(MOST_SOCKETS)).unwrap_or(u32::MAX);
        }
        weighed.clients.append(&mut clients);
    }
}

impl Memory {
    /// What a connection says, and what was remembered of it before.
    fn new(connection: &Connection, before: Self, long: Duration) -> Self {
        let Connection { cgroup, maker, age, client, server, .. } = *connection;
        let Connection { traffic, redirected, left, upper_layer, .. } = *connection;
        let missing = client == End::Missing || server == End::Missing;
        let unknown = missing && before.missing;
        let recent = traffic.since(before.traffic).kind();
        let chatty = age >= long && traffic.kind() == Kind::Chatty && recent != Kind::Bulk;
        let evidence = Evidence {
            blocking_clients: usize::from(client == End::Blocking),
            blocking_servers: usize::from(server == End::Blocking),
            upper_layer: usize::from(upper_layer),
            unknown: usize::from(unknown),
            unsure: usize::from(missing && !unknown),
            chatty: usize::from(chatty),
            bulk: usize::from(recent == Kind::Bulk),
            redirected: usize::from(redirected && !left),
            left: usize::from(left && !before.left),
            looked: true,
            ..Evidence::default()
        };
        let cgroups = [cgroup, maker.filter(|maker| cgroup != Some(*maker))];
        Self { traffic, left, missing, cgroups, evidence }
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
