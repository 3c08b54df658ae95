//! The maps of connections to this node's endpoints, in memory; a test plays the programs.

use std::collections::BTreeMap;

use mesh_common::addr::IpKey;
use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use crate::maps::MapError;
use crate::maps::inbound::InboundMaps;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryInbound {
    locals: BTreeMap<FrontendKey, EndpointId>,
    peers: BTreeMap<IpKey, ClientId>,
    entries: BTreeMap<InboundKey, EdgeCounters>,
    /// One of the next operations fails: after so many.
    fail_after: Option<usize>,
}

impl MemoryInbound {
    /// Has an operation fail, after so many others.
    pub const fn fail_after(&mut self, operations: usize) {
        self.fail_after = Some(operations);
    }

    /// The entry in which a connection is counted that is opened now; `None`: in none.
    pub fn open(&mut self, from: IpKey, to: &FrontendKey) -> Option<InboundKey> {
        let endpoint = *self.locals.get(to)?;
        let client = self.peers.get(&from).copied().unwrap_or_default();
        self.entries.get(&InboundKey { endpoint, client: ClientId::UNKNOWN })?;
        let key = InboundKey { endpoint, client };
        self.entries.entry(key).or_default().opened += 1;
        Some(key)
    }

    /// It has ended. False where its entry has gone.
    pub fn close(&mut self, key: InboundKey, bytes_sent: u64) -> bool {
        let Some(counters) = self.entries.get_mut(&key) else { return false };
        counters.bytes_sent += bytes_sent;
        counters.closed += 1;
        true
    }

    /// How many entries there are.
    #[must_use]
    pub fn used(&self) -> usize {
        self.entries.len()
    }

    const fn next(&mut self) -> Result<(), MapError> {
        match &mut self.fail_after {
            Some(0) => {
                self.fail_after = None;
                Err(MapError::Planned(0))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl InboundMaps for MemoryInbound {
    fn locals(&self) -> Result<BTreeMap<FrontendKey, EndpointId>, MapError> {
        Ok(self.locals.clone())
    }

    fn peers(&self) -> Result<BTreeMap<IpKey, ClientId>, MapError> {
        Ok(self.peers.clone())
    }

    fn entries(&self) -> Result<Vec<(InboundKey, EdgeCounters)>, MapError> {
        Ok(self.entries.iter().map(|(key, counters)| (*key, *counters)).collect())
    }

    fn begin(&mut self, endpoints: &[EndpointId]) -> Result<(), MapError> {
        self.next()?;
        for endpoint in endpoints {
            let key = InboundKey { endpoint: *endpoint, client: ClientId::UNKNOWN };
            self.entries.insert(key, EdgeCounters::ZERO);
        }
        Ok(())
    }

    fn put_locals(&mut self, locals: &[(FrontendKey, EndpointId)]) -> Result<(), MapError> {
        self.next()?;
        self.locals.extend(locals.iter().copied());
        Ok(())
    }

    fn delete_locals(&mut self, locals: &[FrontendKey]) -> Result<(), MapError> {
        self.next()?;
        self.locals.retain(|key, _| !locals.contains(key));
        Ok(())
    }

    fn put_peers(&mut self, peers: &[(IpKey, ClientId)]) -> Result<(), MapError> {
        self.next()?;
        self.peers.extend(peers.iter().copied());
        Ok(())
    }

    fn delete_peers(&mut self, peers: &[IpKey]) -> Result<(), MapError> {
        self.next()?;
        self.peers.retain(|key, _| !peers.contains(key));
        Ok(())
    }

    fn delete_entries(&mut self, keys: &[InboundKey]) -> Result<(), MapError> {
        self.next()?;
        self.entries.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn grace(&self) -> Result<(), MapError> {
        Ok(())
    }
}
