//! Reads the pinned maps directly, to check that what was applied is what the kernel holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData};
use mesh_common::accel::{Pair, PairId};
use mesh_common::addr::IpKey;
use mesh_common::backend::Backend;
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::names;
use mesh_common::service::ServiceHead;
use mesh_common::slot::Slot;
use mesh_common::tunables::{TunableFlags, Tunables};

use crate::node::Node;

/// The maps that a `connect()` walks, opened by their pins.
pub struct PolicyMaps {
    frontends: HashMap<MapData, FrontendKey, Frontend>,
    services: Array<MapData, ServiceHead>,
    slots: Array<MapData, Slot>,
    backends: Array<MapData, Backend>,
}

pub(crate) fn open(node: &Node, name: &str) -> anyhow::Result<MapData> {
    let pin = node.map(name);
    MapData::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))
}

/// The pairs of accelerated connections, those of closed ones included until their place is given to
/// others.
pub fn pairs(node: &Node) -> anyhow::Result<Vec<Pair>> {
    let array: Array<_, Pair> = Map::Array(open(node, names::PAIRS)?).try_into()?;
    let pairs: Result<Vec<_>, _> = array.iter().collect();
    Ok(pairs?.into_iter().filter(|pair: &Pair| pair.id != PairId::default()).collect())
}

/// What the programs are told.
pub fn flags(node: &Node) -> anyhow::Result<TunableFlags> {
    let array: Array<_, Tunables> = Map::Array(open(node, names::TUNABLES)?).try_into()?;
    Ok(array.get(&0, 0)?.flags)
}

/// Sets those of `which` that `flags` has, and clears the others of them.
pub(crate) fn set_flags(
    node: &Node,
    which: TunableFlags,
    flags: TunableFlags,
) -> anyhow::Result<()> {
    let mut array: Array<_, Tunables> = Map::Array(open(node, names::TUNABLES)?).try_into()?;
    let mut tunables = array.get(&0, 0)?;
    tunables.flags = tunables.flags.without(which).and(flags);
    Ok(array.set(0, tunables, 0)?)
}

impl PolicyMaps {
    /// Opens the pins of a node.
    pub fn open(node: &Node) -> anyhow::Result<Self> {
        Ok(Self {
            frontends: Map::HashMap(open(node, names::FRONTENDS)?).try_into()?,
            services: Map::Array(open(node, names::SERVICES)?).try_into()?,
            slots: Map::Array(open(node, names::SLOTS)?).try_into()?,
            backends: Map::Array(open(node, names::BACKENDS)?).try_into()?,
        })
    }

    /// The share of each backend address among the connections to `vip`, as the slots say.
    pub fn shares(&self, vip: SocketAddrV4) -> anyhow::Result<BTreeMap<IpAddr, f64>> {
        let key = FrontendKey::new(IpKey::from_v4(*vip.ip()), vip.port(), 6);
        let service = self.frontends.get(&key, 0).context("no frontend")?.service;
        let head = self.services.get(&service.index, 0)?;
        let each = 1.0 / f64::from(head.slot_count.max(1));
        let mut shares = BTreeMap::new();
        for index in head.slot_base..head.slot_base + head.slot_count {
            let slot = self.slots.get(&index, 0)?;
            anyhow::ensure!(slot.service == service, "slot {index} of another service");
            let first = f64::from(slot.threshold) / 2.0_f64.powi(32);
            for (backend, part) in [(slot.backend, first), (slot.alias, 1.0 - first)] {
                if part > 0.0 {
                    let address = self.backends.get(&backend.index, 0)?.addr.to_ip();
                    *shares.entry(address).or_insert(0.0) += part * each;
                }
            }
        }
        Ok(shares)
    }
}
