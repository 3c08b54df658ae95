//! The programs' account of accelerated connections: which way each direction goes, and what was
//! redirected.

use std::path::Path;

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use mesh_common::accel::Pair;
use mesh_common::conn::ConnGroup;
use mesh_common::logic::table;
use mesh_common::names;

/// The maps, opened by their pins.
pub struct Pairs {
    index: Array<MapData, ConnGroup>,
    pairs: Array<MapData, Pair>,
}

impl Pairs {
    /// Opens the pins in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let open = |name| {
            let pin = folder.join(name);
            MapData::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))
        };
        Ok(Self {
            index: Map::Array(open(names::CONNS_INDEX)?).try_into()?,
            pairs: Map::Array(open(names::PAIRS)?).try_into()?,
        })
    }

    /// Where the account of a client's socket is while its connection is open; none where the
    /// socket has no record in the table.
    pub fn place(&self, cookie: u64) -> anyhow::Result<Option<u32>> {
        let group = table::group(cookie);
        let cookies = self.index.get(&group, 0)?.cookies;
        let way = cookies.iter().position(|other| *other == cookie);
        Ok(way.map(|way| table::place(group, way)))
    }

    /// What is at a place, if it is still about this socket. Stays readable after the
    /// connection's end, until another accelerated one gets the place.
    pub fn at(&self, place: u32, cookie: u64) -> anyhow::Result<Option<Pair>> {
        let pair = self.pairs.get(&place, 0)?;
        Ok(pair.id.is_of(cookie).then_some(pair))
    }

    /// The account of an open connection; none where it is not accelerated.
    pub fn of(&self, cookie: u64) -> anyhow::Result<Option<Pair>> {
        self.place(cookie)?.map_or(Ok(None), |place| self.at(place, cookie))
    }
}
