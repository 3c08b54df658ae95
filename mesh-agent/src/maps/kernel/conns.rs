//! The programs' table of connections, to be read only: which sockets point where.

use std::path::Path;

use mesh_common::conn::{ConnGroup, ConnRecord, WAYS};
use mesh_common::logic::table::place;
use mesh_common::names;

use super::open_error;
use crate::bpf::load::map_path;
use crate::bpf::mapped::{Access, Mapped};
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

    /// Cookies of sockets with their records. A record may be changed while it is read; one whose
    /// socket has changed meanwhile is left out, but what is told may be over by the time it is
    /// used.
    pub fn iter(&self) -> impl Iterator<Item = (u64, ConnRecord)> + '_ {
        (0..).zip(self.index.iter()).flat_map(move |(group, owners)| {
            (0..WAYS).zip(owners.cookies).filter(|(_, cookie)| *cookie != 0).filter_map(
                move |(way, cookie)| {
                    let record = self.conns.get(place(group, way))?;
                    let owner = *self.index.get(group)?.cookies.get(way)?;
                    (owner == cookie).then_some((cookie, record))
                },
            )
        })
    }
}
