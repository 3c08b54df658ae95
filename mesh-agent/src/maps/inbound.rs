//! The door to the maps of connections to this node's endpoints.

use std::collections::BTreeMap;

use mesh_common::addr::IpKey;
use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};

use super::MapError;

/// See the module. Deleting what is not there is no error.
pub trait InboundMaps {
    /// Where the endpoints are that are counted.
    fn locals(&self) -> Result<BTreeMap<FrontendKey, EndpointId>, MapError>;

    /// Whose addresses are known.
    fn peers(&self) -> Result<BTreeMap<IpKey, ClientId>, MapError>;

    /// What is counted, summed over the CPUs.
    fn entries(&self) -> Result<Vec<(InboundKey, EdgeCounters)>, MapError>;

    /// Makes the entries of unknown clients of new endpoints, at 0.
    fn begin(&mut self, endpoints: &[EndpointId]) -> Result<(), MapError>;

    /// Counts connections to these addresses for these endpoints from here on.
    fn put_locals(&mut self, locals: &[(FrontendKey, EndpointId)]) -> Result<(), MapError>;

    /// Counts connections to these addresses no more.
    fn delete_locals(&mut self, locals: &[FrontendKey]) -> Result<(), MapError>;

    /// Counts connections from these addresses for these clients from here on.
    fn put_peers(&mut self, peers: &[(IpKey, ClientId)]) -> Result<(), MapError>;

    /// Nobody knows any more whose these addresses are.
    fn delete_peers(&mut self, peers: &[IpKey]) -> Result<(), MapError>;

    /// Deletes entries.
    fn delete_entries(&mut self, keys: &[InboundKey]) -> Result<(), MapError>;

    /// Waits until no program runs that began before.
    fn grace(&self) -> Result<(), MapError>;
}
