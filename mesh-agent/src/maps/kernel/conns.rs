//! The programs' table of connections, to be read only: which sockets point where.

use std::os::fd::OwnedFd;
use std::path::Path;

use mesh_common::conn::{ConnGroup, ConnRecord, ConnsState};
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
    /// Maps the pinned table.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        let index = map_path(pin_path, names::CONNS_INDEX);
        let conns = map_path(pin_path, names::CONNS);
        Ok(Self {
            index: Mapped::open(&index, Access::Read).map_err(open_error(&index))?,
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

    /// The map of the records for which the table had no room, if there have been any.
    pub fn overflow(pin_path: &Path) -> Result<Option<OwnedFd>, MapError> {
        let path = map_path(pin_path, names::CONNS_STATE);
        let state: Mapped<ConnsState> =
            Mapped::open(&path, Access::Read).map_err(open_error(&path))?;
        if state.get(0).unwrap_or_default().overflowed == 0 {
            return Ok(None);
        }
        let path = map_path(pin_path, names::CONNS_OVERFLOW);
        open_pin(&path).map(Some).map_err(open_error(&path))
    }
}
