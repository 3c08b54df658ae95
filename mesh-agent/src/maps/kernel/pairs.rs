//! What the programs know of accelerated connections that are open. They count bytes that went past
//! TCP for the backend when the connection ends; until then, this has them.

use std::path::Path;

use mesh_common::accel::{Pair, PairId};
use mesh_common::conn::{ConnFlags, Stage, WAYS};
use mesh_common::names;
use mesh_common::tunables::TunableFlags;

use super::conns::ConnTable;
use super::{KernelMaps, open_error};
use crate::accel::live::Live;
use crate::bpf::load::map_path;
use crate::bpf::mapped::{Access, Mapped};
use crate::maps::MapError;

impl KernelMaps {
    /// Looks at every connection that is open. Where nothing ever was accelerated, at none.
    pub fn accelerated(&self, pin_path: &Path) -> Result<Live, MapError> {
        if self.tunables()?.flags.contains(TunableFlags::ENLISTED) {
            live(pin_path)
        } else {
            Ok(Live::default())
        }
    }
}

/// The pairs, mapped while this exists.
#[derive(Debug)]
pub struct PairTable {
    pairs: Mapped<Pair>,
}

impl PairTable {
    /// Maps the pinned table, to be read.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        let path = map_path(pin_path, names::PAIRS);
        Ok(Self { pairs: Mapped::open(&path, Access::Read).map_err(open_error(&path))? })
    }

    /// What is known of the connection of this socket, whose record is at this place; `None` where
    /// its ends have not found each other.
    #[must_use]
    pub fn of(&self, place: u32, cookie: u64) -> Option<Pair> {
        // What names another connection is left over.
        let is_own = PairId { number: self.pairs.read(place, 0) }.is_of(cookie);
        self.pairs.get(place).filter(|pair| is_own && pair.server_at != 0)
    }
}

/// The maps are in the agent's memory only while it looks. A connection that ends meanwhile may be
/// counted here and there, or not at all.
fn live(pin_path: &Path) -> Result<Live, MapError> {
    let path = map_path(pin_path, names::PAIRS);
    let pairs: Mapped<Pair> = Mapped::open(&path, Access::Read).map_err(open_error(&path))?;
    let table = ConnTable::open(pin_path)?;
    let mut live = Live::default();
    for (first, group) in (0..).step_by(WAYS).zip(table.groups()) {
        for (place, cookie) in (first..).zip(group.cookies) {
            // What names another connection is left over.
            if cookie == 0 || !(PairId { number: pairs.read(place, 0) }).is_of(cookie) {
                continue;
            }
            // Or an earlier one of the same socket, which is about to connect again.
            let is_open = table.record(place).is_some_and(|record| {
                record.stage == Stage::OPEN && record.flags.contains(ConnFlags::ACCELERATED)
            });
            if is_open && let Some(pair) = pairs.get(place) {
                live.add(&pair);
            }
        }
    }
    Ok(live)
}
