//! Connections that arrive at this node's endpoints, whoever makes them: which addresses the programs
//! count, for whom, and what becomes of what they have counted.
//!
//! ```text
//! world ─ changed groups ─► index: address → who is counted there, address → whose it is
//!           │ put:    new ids in the ledger ─► entry at 0 ─► `locals`, `peers`     counted now
//!           │ remove: `locals`, `peers`                                            no more
//!           ▼ sweep:  grace, connections over ─► settled in the ledger ─► entry gone
//! ```
//!
//! Whoever is counted for an address gets an id that is given out once, and another one when that
//! changes; a connection is counted to its end for whom it was opened. So nothing that the kernel has
//! counted ever changes hands, and no entry goes while a program may use it.

pub mod dump;
mod index;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mesh_api::model::Label;
use mesh_common::addr::IpKey;
use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use self::index::{Changed, Index, Part};
use crate::edges::{Edges, Row, Rows, Source, add};
use crate::ledger::{InboundStep, Journal};
use crate::maps::MapError;
use crate::maps::inbound::InboundMaps;
use crate::world::World;

/// What the kernel says.
type Raw = [(InboundKey, EdgeCounters)];

/// See the module.
#[derive(Debug, Default)]
pub struct Inbound {
    on: bool,
    index: Index,
    changed: Changed,
    /// What the maps hold; `None` where it has to be read.
    held: Option<Held>,
    /// Most clients with rows of their own.
    most: usize,
    /// Highest id given out.
    last_id: u64,
    /// An element of a map may have become free that a program still looks at.
    freed: bool,
    swept: Option<Duration>,
    /// What the log has said.
    complaint: Option<String>,
}

/// What the maps hold.
#[derive(Debug, Default)]
struct Held {
    locals: BTreeMap<FrontendKey, EndpointId>,
    peers: BTreeMap<IpKey, ClientId>,
    /// Ids of clients, as the ledger has them.
    clients: HashMap<Label, ClientId>,
}

impl Inbound {
    /// Whether anything is to be counted, and how many clients are told apart; before the world is.
    /// Nothing is, without this.
    pub const fn set_on(&mut self, on: bool, most: usize) {
        (self.on, self.most) = (on, most);
    }

    /// Takes up the changes of the world.
    pub fn follow(&mut self, world: &mut World) {
        for id in world.take_to_count() {
            let group = world.group(id).filter(|_| self.on);
            self.index.put(id, group.map(Part::of).unwrap_or_default(), &mut self.changed);
        }
    }

    /// Whether the maps are not as they should be.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Counts what is new, before connections can come to it. Ids are at least `stamp`.
    pub fn put(
        &mut self,
        maps: &mut dyn InboundMaps,
        journal: &mut Journal,
        stamp: u32,
    ) -> Result<(), MapError> {
        self.learn(maps, journal)?;
        // Nobody knows what the maps hold after an error.
        let Some(mut held) = self.held.take() else { return Ok(()) };
        self.last_id = self.last_id.max(u64::from(stamp) << 32);
        let locals = self.new_locals(&held, journal);
        let peers = self.new_peers(&mut held, journal);
        commit(journal);
        if self.freed && !(locals.is_empty() && peers.is_empty()) {
            maps.grace()?;
            self.freed = false;
        }
        let locals = begin(maps, locals)?;
        self.freed |= locals.iter().any(|(key, _)| held.locals.contains_key(key));
        self.freed |= peers.iter().any(|(address, _)| held.peers.contains_key(address));
        maps.put_locals(&locals)?;
        maps.put_peers(&peers)?;
        held.locals.extend(locals);
        held.peers.extend(peers);
        self.held = Some(held);
        Ok(())
    }

    /// Counts what has gone no more.
    pub fn remove(
        &mut self,
        maps: &mut dyn InboundMaps,
        journal: &Journal,
    ) -> Result<(), MapError> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let is_held = |key: &&FrontendKey| held.locals.contains_key(*key);
        let gone = self.changed.locals.iter().filter(|key| self.index.local(key).is_none());
        let locals: Vec<FrontendKey> = gone.filter(is_held).copied().collect();
        let is_held = |address: &&IpKey| held.peers.contains_key(*address);
        let gone = self.changed.peers.iter().filter(|address| self.index.peer(address).is_none());
        let peers: Vec<IpKey> = gone.filter(is_held).copied().collect();
        self.freed |= !(locals.is_empty() && peers.is_empty());
        maps.delete_locals(&locals)?;
        maps.delete_peers(&peers)?;
        for key in &locals {
            held.locals.remove(key);
        }
        for address in &peers {
            held.peers.remove(address);
        }
        // Those that found no room are tried again.
        let index = &self.index;
        self.changed.locals.retain(|key| {
            let now = held.locals.get(key).and_then(|id| journal.inbound().endpoints().get(id));
            now != index.local(key)
        });
        self.changed.peers.clear();
        self.held = Some(held);
        Ok(())
    }

    /// Reads the maps, where that is to be done.
    fn learn(&mut self, maps: &dyn InboundMaps, journal: &Journal) -> Result<(), MapError> {
        if self.held.is_some() {
            return Ok(());
        }
        let (mut locals, peers, entries) = (maps.locals()?, maps.peers()?, maps.entries()?);
        self.changed.locals.extend(locals.keys());
        self.changed.peers.extend(peers.keys());
        let entries: BTreeMap<InboundKey, EdgeCounters> = entries.into_iter().collect();
        let book = journal.inbound();
        let ids = locals.values().chain(book.endpoints().keys()).map(|id| id.number);
        let ids = ids.chain(peers.values().chain(book.clients().keys()).map(|id| id.number));
        let ids =
            ids.chain(entries.keys().flat_map(|key| [key.endpoint.number, key.client.number]));
        self.last_id = ids.fold(self.last_id, u64::max);
        // Without the entry that there has to be, nothing is counted.
        locals.retain(|_, endpoint| {
            let client = ClientId::UNKNOWN;
            entries.contains_key(&InboundKey { endpoint: *endpoint, client })
        });
        let clients = book.clients().iter().map(|(id, name)| (name.clone(), *id)).collect();
        self.freed = true;
        self.held = Some(Held { locals, peers, clients });
        Ok(())
    }

    /// Addresses that somebody else is to be counted for from here on.
    fn new_locals(&mut self, held: &Held, journal: &mut Journal) -> Vec<(FrontendKey, EndpointId)> {
        let mut new = Vec::new();
        for key in &self.changed.locals {
            let Some(account) = self.index.local(key) else { continue };
            let before = held.locals.get(key);
            if before.and_then(|id| journal.inbound().endpoints().get(id)) == Some(account) {
                continue;
            }
            self.last_id += 1;
            let id = EndpointId { number: self.last_id };
            journal.enter_inbound(InboundStep::Endpoint(id, Some(account.clone())));
            new.push((*key, id));
        }
        new
    }

    /// Addresses that are somebody else's from here on.
    fn new_peers(&mut self, held: &mut Held, journal: &mut Journal) -> Vec<(IpKey, ClientId)> {
        let mut new = Vec::new();
        for address in &self.changed.peers {
            let Some(name) = self.index.peer(address) else { continue };
            let known = held.clients.get(name).copied();
            let id = known.unwrap_or_else(|| {
                self.last_id += 1;
                let id = ClientId { number: self.last_id };
                journal.enter_inbound(InboundStep::Client(id, Some(name.clone())));
                held.clients.insert(name.clone(), id);
                id
            });
            if held.peers.get(address) != Some(&id) {
                new.push((*address, id));
            }
        }
        new
    }

    /// What is counted, by who makes connections and who is counted for them; and how many entries
    /// there are.
    pub fn rows(
        &mut self,
        maps: &dyn InboundMaps,
        journal: &mut Journal,
    ) -> Result<(Rows, usize), MapError> {
        let raw = maps.entries()?;
        let mut edges = edges(&raw, journal);
        self.seat(&edges, journal);
        put_together(&mut edges, journal);
        let rows = edges.iter().map(|(key, it)| (key.clone(), Row::of_edge(&key.1, it)));
        Ok((rows.collect(), raw.len()))
    }

    /// Gives clients that are new rows of their own, the most used first, as long as there are not too
    /// many. It stays so, so that no row ever falls.
    fn seat(&self, edges: &Edges, journal: &mut Journal) {
        let (own, others) = journal.inbound().seats();
        let mut used: BTreeMap<&Label, u64> = BTreeMap::new();
        for ((source, _), counters) in edges {
            if let Source::Workload(name) = source
                && !own.contains(name)
                && !others.contains(name)
            {
                *used.entry(name).or_default() += counters.opened;
            }
        }
        if used.is_empty() {
            return;
        }
        let mut new: Vec<(u64, Label)> =
            used.into_iter().map(|(name, uses)| (uses, name.clone())).collect();
        new.sort_unstable_by(|a, b| b.cmp(a));
        let room = self.most.saturating_sub(own.len());
        for (at, (_, name)) in new.into_iter().enumerate() {
            journal.enter_inbound(InboundStep::Seat(name, at < room));
        }
        commit(journal);
    }

    /// Says once what is wrong.
    pub fn note(&mut self, outcome: Result<(), MapError>) {
        let complaint = outcome.err().map(|error| error.to_string());
        if let Some(error) = complaint.as_ref().filter(|new| self.complaint.as_ref() != Some(new)) {
            tracing::error!(error, "connections to some endpoints of this node are not counted");
        }
        self.complaint = complaint;
    }
}

/// What is counted, by who makes connections and who is counted.
fn edges(raw: &Raw, journal: &Journal) -> Edges {
    let book = journal.inbound();
    let mut edges = book.settled().clone();
    for (key, counters) in raw {
        let counted = book.counted(key, counters);
        // An endpoint that nobody has used has a row as well.
        if counted != EdgeCounters::ZERO || book.endpoints().contains_key(&key.endpoint) {
            add(&mut edges, book.source(key.client), &book.account(key.endpoint), &counted);
        }
    }
    edges
}

/// Counts those together that have no rows of their own.
fn put_together(edges: &mut Edges, journal: &Journal) {
    let (_, others) = journal.inbound().seats();
    let goes = |source: &Source| match source {
        Source::Workload(name) => others.contains(name),
        Source::Other | Source::Unknown => false,
    };
    let keys: Vec<_> = edges.keys().filter(|(source, _)| goes(source)).cloned().collect();
    for key in keys {
        if let Some(counters) = edges.remove(&key) {
            add(edges, Source::Other, &key.1, &counters);
        }
    }
}

/// Makes the entries of new endpoints. Returns those that there is room for.
fn begin(
    maps: &mut dyn InboundMaps,
    mut new: Vec<(FrontendKey, EndpointId)>,
) -> Result<Vec<(FrontendKey, EndpointId)>, MapError> {
    let ids: Vec<EndpointId> = new.iter().map(|(_, id)| *id).collect();
    if ids.is_empty() || maps.begin(&ids).is_ok() {
        return Ok(new);
    }
    // One by one, to see which fit.
    let all = new.len();
    let mut problem = None;
    new.retain(|(_, id)| match maps.begin(&[*id]) {
        Ok(()) => true,
        Err(error) => {
            problem = Some(error);
            false
        }
    });
    match problem {
        Some(error) if new.is_empty() => Err(error),
        Some(error) => {
            let left = all - new.len();
            tracing::error!(%error, left, "connections to some endpoints are not counted");
            Ok(new)
        }
        None => Ok(new),
    }
}

/// The ledger goes on in memory where it cannot be written. Returns whether it was.
fn commit(journal: &mut Journal) -> bool {
    let written = journal.commit();
    if let Err(error) = &written {
        tracing::error!("{error}");
    }
    written.is_ok()
}
