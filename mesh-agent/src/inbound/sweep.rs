//! Takes entries out of the map that nothing is counted in any more.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::edge::EdgeCounters;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use super::{Inbound, Raw, commit};
use crate::ledger::{InboundStep, Journal};
use crate::maps::MapError;
use crate::maps::inbound::InboundMaps;

/// How often it looks.
const SWEEP: Duration = Duration::from_secs(10);

impl Inbound {
    /// Whether it is time to look again; `now` is the time since any fixed moment.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = self.swept.is_none_or(|swept| now >= swept + SWEEP);
        if due {
            self.swept = Some(now);
        }
        due
    }

    /// Settles and deletes entries that no program counts in any more: of endpoints and clients that
    /// are not in the maps, and without an open connection.
    pub fn sweep(
        &mut self,
        maps: &mut dyn InboundMaps,
        journal: &mut Journal,
    ) -> Result<(), MapError> {
        let Some(held) = &self.held else { return Ok(()) };
        if self.freed {
            // Whoever has found what is gone has counted what it opens after that.
            maps.grace()?;
            self.freed = false;
        }
        let endpoints: BTreeSet<EndpointId> = held.locals.values().copied().collect();
        let clients: BTreeSet<ClientId> = held.peers.values().copied().collect();
        let raw = maps.entries()?;
        let is_live = |key: &InboundKey| {
            let known = key.client == ClientId::UNKNOWN || clients.contains(&key.client);
            known && endpoints.contains(&key.endpoint)
        };
        let is_done = |(key, counters): &&(InboundKey, EdgeCounters)| {
            !is_live(key) && counters.opened == counters.closed
        };
        let done: Vec<InboundKey> = raw.iter().filter(is_done).map(|(key, _)| *key).collect();
        for (key, counters) in raw.iter().filter(is_done) {
            if *counters != EdgeCounters::ZERO {
                journal.enter_inbound(InboundStep::Settle(*key, *counters));
            }
        }
        // Only what is on disk may go from the map.
        if !commit(journal) {
            return Ok(());
        }
        if !done.is_empty() {
            maps.delete_entries(&done)?;
        }
        let done: BTreeSet<InboundKey> = done.into_iter().collect();
        let left: Vec<_> = raw.into_iter().filter(|(key, _)| !done.contains(key)).collect();
        self.forget(&left, &endpoints, &clients, journal);
        commit(journal);
        Ok(())
    }

    /// Forgets what the ledger knows of ids that are in no map any more.
    fn forget(
        &mut self,
        left: &Raw,
        endpoints: &BTreeSet<EndpointId>,
        clients: &BTreeSet<ClientId>,
        journal: &mut Journal,
    ) {
        let keys: BTreeSet<InboundKey> = left.iter().map(|(key, _)| *key).collect();
        let counted: BTreeSet<EndpointId> = keys.iter().map(|key| key.endpoint).collect();
        let counting: BTreeSet<ClientId> = keys.iter().map(|key| key.client).collect();
        let book = journal.inbound();
        let marks = book.marks().filter(|key| !keys.contains(key));
        let mut steps: Vec<InboundStep> = marks.map(|key| InboundStep::Drop(*key)).collect();
        let gone = |id: &&EndpointId| !endpoints.contains(id) && !counted.contains(id);
        let gone = book.endpoints().keys().filter(gone);
        steps.extend(gone.map(|id| InboundStep::Endpoint(*id, None)));
        let gone = |id: &&ClientId| !clients.contains(id) && !counting.contains(id);
        let gone: BTreeSet<ClientId> = book.clients().keys().filter(gone).copied().collect();
        steps.extend(gone.iter().map(|id| InboundStep::Client(*id, None)));
        if let Some(held) = &mut self.held {
            held.clients.retain(|_, id| !gone.contains(id));
        }
        for step in steps {
            journal.enter_inbound(step);
        }
    }
}
