//! Which sockets to destroy. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::offset_of;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnGroup, ConnRecord};
use mesh_common::logic::table::place;

use super::drain::{BackendId, Removal};
use super::wire::Socket;

/// The mesh's records about sockets: to which backend each was sent.
#[derive(Debug, Default)]
pub struct Records {
    /// Those of the table, by cookie.
    pub table: HashMap<u64, BackendId>,
    /// The map of those for which the table had no room, if there are any: socket storage of
    /// `ConnRecord`. The kernel tells them only socket by socket, so with it each look searches
    /// every namespace for every TCP backend. It does not tell them of datagram sockets
    /// (`inet_sk_diag_fill` stops before), which therefore stay until they are closed.
    pub overflow: Option<OwnedFd>,
}

impl FromIterator<(u64, BackendId)> for Records {
    fn from_iter<I: IntoIterator<Item = (u64, BackendId)>>(records: I) -> Self {
        Self { table: records.into_iter().collect(), overflow: None }
    }
}

impl Records {
    /// Reads the records about sockets of these backends from the table, while the programs
    /// write to it: `groups` are the entries of `conns_index` in order, `record` one of `conns`.
    /// A record that is read half-written, or just after it went to another socket, does no
    /// harm: it counts only where the socket really points at the backend.
    pub fn read(
        wanted: &BTreeSet<BackendId>,
        groups: impl IntoIterator<Item = ConnGroup>,
        record: impl Fn(u32) -> Option<ConnRecord>,
    ) -> Self {
        let sockets = (0..).zip(groups).flat_map(|(number, group)| {
            (0..).zip(group.cookies).map(move |(way, cookie)| (cookie, place(number, way)))
        });
        sockets
            .filter(|(cookie, _)| *cookie != 0)
            .filter_map(|(cookie, at)| {
                let ConnRecord { backend: index, generation, .. } = record(at)?;
                let backend = BackendId { index, generation };
                wanted.contains(&backend).then_some((cookie, backend))
            })
            .collect()
    }

    /// The map of the records for which the table had no room.
    #[must_use]
    pub fn overflow(&self) -> Option<BorrowedFd<'_>> {
        self.overflow.as_ref().map(|map| map.as_fd())
    }

    /// Where the mesh sent the socket. The programs too ask the table first.
    fn backend(&self, socket: &Socket) -> Option<BackendId> {
        self.table.get(&socket.cookie).copied().or_else(|| stored(&socket.storage))
    }
}

/// The backend in the bytes of a `ConnRecord`.
fn stored(record: &[u8]) -> Option<BackendId> {
    if record.len() != size_of::<ConnRecord>() {
        return None;
    }
    let word = |at| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    Some(BackendId {
        index: BackendIndex { index: word(offset_of!(ConnRecord, backend))? },
        generation: word(offset_of!(ConnRecord, generation))?,
    })
}

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
        let backend = self.records.backend(socket)?;
        let removal = self.due.get(&backend)?;
        let there = socket.remote == removal.address && socket.protocol == removal.protocol;
        there.then_some(backend)
    }
}
