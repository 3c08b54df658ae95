//! The programs' table of connections: which sockets point where. It is theirs; the agent only
//! takes back places that they have lost.

use std::os::fd::OwnedFd;
use std::path::Path;

use mesh_common::conn::{ConnGroup, ConnRecord, ConnsState, WAYS};
use mesh_common::names;

use super::open_error;
use crate::bpf::load::map_path;
use crate::bpf::mapped::{Access, Mapped};
use crate::bpf::open_pin;
use crate::maps::MapError;

/// The table, mapped while this exists: it counts as the agent's memory, so do not keep it.
#[derive(Debug)]
pub struct ConnTable {
    index: Mapped<ConnGroup>,
    conns: Mapped<ConnRecord>,
}

/// Counts the records in use; those in socket storage are not among them.
pub fn used(pin_path: &Path) -> Result<u64, MapError> {
    let path = map_path(pin_path, names::CONNS_INDEX);
    let index: Mapped<ConnGroup> = Mapped::open(&path, Access::Read).map_err(open_error(&path))?;
    let taken = |group: ConnGroup| group.cookies.iter().filter(|cookie| **cookie != 0).count();
    Ok(index.iter().map(|group| u64::try_from(taken(group)).unwrap_or(0)).sum())
}

impl ConnTable {
    /// Maps the pinned table, to be read.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Self::map(pin_path, Access::Read)
    }

    /// Maps the pinned table, to be read and to take places back.
    pub fn open_to_repair(pin_path: &Path) -> Result<Self, MapError> {
        Self::map(pin_path, Access::Write)
    }

    fn map(pin_path: &Path, access: Access) -> Result<Self, MapError> {
        let index = map_path(pin_path, names::CONNS_INDEX);
        let conns = map_path(pin_path, names::CONNS);
        Ok(Self {
            index: Mapped::open(&index, access).map_err(open_error(&index))?,
            conns: Mapped::open(&conns, Access::Read).map_err(open_error(&conns))?,
        })
    }

    /// Whose the records are, in the order of the map `conns_index`.
    pub fn groups(&self) -> impl Iterator<Item = ConnGroup> + '_ {
        self.index.iter()
    }

    /// A record, at its place in the map `conns`. It may be changed while it is read, and its
    /// socket may be another one by the time it is used.
    #[must_use]
    pub fn record(&self, place: u32) -> Option<ConnRecord> {
        self.conns.get(place)
    }

    /// The cookie of the socket that has a place; 0: nobody has it.
    #[must_use]
    pub fn holder(&self, place: u32) -> u64 {
        let Ok(ways) = u32::try_from(WAYS) else { return 0 };
        self.index.read(place / ways, usize::try_from(place % ways).unwrap_or(usize::MAX))
    }

    /// Makes a place free, if it still belongs to the socket with this cookie.
    #[must_use]
    pub fn take_back(&self, place: u32, cookie: u64) -> bool {
        let Ok(ways) = u32::try_from(WAYS) else { return false };
        let way = usize::try_from(place % ways).unwrap_or(usize::MAX);
        self.index.compare_exchange(place / ways, way, cookie, 0)
    }

    /// How many records the table had no room for since it was made.
    pub fn overflowed(pin_path: &Path) -> Result<u64, MapError> {
        let path = map_path(pin_path, names::CONNS_STATE);
        let state: Mapped<ConnsState> =
            Mapped::open(&path, Access::Read).map_err(open_error(&path))?;
        Ok(state.get(0).unwrap_or_default().overflowed)
    }

    /// The map of the records for which the table had no room, if there have been any.
    pub fn overflow(pin_path: &Path) -> Result<Option<OwnedFd>, MapError> {
        if Self::overflowed(pin_path)? == 0 {
            return Ok(None);
        }
        let path = map_path(pin_path, names::CONNS_OVERFLOW);
        open_pin(&path).map(Some).map_err(open_error(&path))
    }
}
