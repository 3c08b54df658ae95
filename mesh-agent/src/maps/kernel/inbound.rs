//! The pinned maps of connections to this node's endpoints.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use mesh_common::addr::IpKey;
use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};
use mesh_common::names;

use super::{delete, pinned, read_error, total};
use crate::bpf;
use crate::bpf::pinned::Pinned;
use crate::maps::MapError;
use crate::maps::inbound::InboundMaps;

/// The pinned maps, open.
#[derive(Debug)]
pub struct KernelInbound {
    locals: Pinned<FrontendKey, EndpointId>,
    peers: Pinned<IpKey, ClientId>,
    entries: Pinned<InboundKey, EdgeCounters>,
}

impl KernelInbound {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self {
            locals: pinned(pin_path, names::LOCALS)?,
            peers: pinned(pin_path, names::PEERS)?,
            entries: pinned(pin_path, names::INBOUND)?,
        })
    }

    /// Which map the programs count in.
    pub(super) const fn id(&self) -> u32 {
        self.entries.info().id
    }
}

/// None of these maps has a flag for its size.
fn write_error(map: &'static str) -> impl Fn((usize, io::Error)) -> MapError {
    move |(_, source)| MapError::Write { map, source: source.into() }
}

fn all<K: aya::Pod + Ord, V: aya::Pod>(
    of: &Pinned<K, V>,
    map: &'static str,
) -> Result<BTreeMap<K, V>, MapError> {
    let mut all = BTreeMap::new();
    let read = of.each(|key, values| {
        if let [value] = values {
            all.insert(key, *value);
        }
    });
    read.map_err(read_error(map)).map(|()| all)
}

impl InboundMaps for KernelInbound {
    fn locals(&self) -> Result<BTreeMap<FrontendKey, EndpointId>, MapError> {
        all(&self.locals, names::LOCALS)
    }

    fn peers(&self) -> Result<BTreeMap<IpKey, ClientId>, MapError> {
        all(&self.peers, names::PEERS)
    }

    fn entries(&self) -> Result<Vec<(InboundKey, EdgeCounters)>, MapError> {
        let mut entries = Vec::new();
        let read = self.entries.each(|key, values| entries.push((key, total(values))));
        read.map_err(read_error(names::INBOUND)).map(|()| entries)
    }

    fn begin(&mut self, endpoints: &[EndpointId]) -> Result<(), MapError> {
        let key =
            |endpoint: &EndpointId| InboundKey { endpoint: *endpoint, client: ClientId::UNKNOWN };
        let keys: Vec<InboundKey> = endpoints.iter().map(key).collect();
        self.entries.zero(&keys).map_err(write_error(names::INBOUND))
    }

    fn put_locals(&mut self, locals: &[(FrontendKey, EndpointId)]) -> Result<(), MapError> {
        self.locals.update(locals).map_err(write_error(names::LOCALS))
    }

    fn delete_locals(&mut self, locals: &[FrontendKey]) -> Result<(), MapError> {
        delete(&self.locals, names::LOCALS, locals)
    }

    fn put_peers(&mut self, peers: &[(IpKey, ClientId)]) -> Result<(), MapError> {
        self.peers.update(peers).map_err(write_error(names::PEERS))
    }

    fn delete_peers(&mut self, peers: &[IpKey]) -> Result<(), MapError> {
        delete(&self.peers, names::PEERS, peers)
    }

    fn delete_entries(&mut self, keys: &[InboundKey]) -> Result<(), MapError> {
        delete(&self.entries, names::INBOUND, keys)
    }

    fn grace(&self) -> Result<(), MapError> {
        bpf::grace().map_err(MapError::Grace)
    }
}
