//! Which sockets to destroy. Pure.

use std::collections::{BTreeMap, HashMap};

use super::drain::{BackendId, Removal};
use super::wire::Socket;

/// The mesh's records about sockets, by cookie: to which backend each was sent.
pub type Records = HashMap<u64, BackendId>;

/// Picks sockets that point at a backend whose time has come and were sent there by the mesh.
#[derive(Clone, Debug)]
pub struct Stale<'a> {
    due: BTreeMap<BackendId, &'a Removal>,
    records: &'a Records,
}

impl<'a> Stale<'a> {
    /// For these backends, by these records (others' records do no harm).
    #[must_use]
    pub fn new(due: &'a [Removal], records: &'a Records) -> Self {
        Self { due: due.iter().map(|removal| (removal.backend, removal)).collect(), records }
    }

    /// The backend for whose sake the socket is to be destroyed, if it is. Three things must
    /// agree: the record's backend is due, and the socket's peer and transport are that
    /// backend's. A socket that connected elsewhere has another peer; one that the mesh did not
    /// send has no record, or that of another backend at the same address.
    #[must_use]
    pub fn judge(&self, socket: &Socket) -> Option<BackendId> {
        let backend = self.records.get(&socket.cookie)?;
        let removal = self.due.get(backend)?;
        let there = socket.remote == removal.address && socket.protocol == removal.protocol;
        there.then_some(*backend)
    }
}
