//! What the kernel keeps about a service's limits, breakers and ejections, read from its maps.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData};
use mesh_common::addr::IpKey;
use mesh_common::backend::Backend;
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::logic::load;
use mesh_common::names;
use mesh_common::service::ServiceIndex;

use crate::maps::{PolicyMaps, open};
use crate::node::Node;
use crate::wait::eventually;

/// Protocol number of TCP, the only one that is guarded.
const TCP: u8 = 6;

/// The maps of one service, opened by their pins.
pub struct Guards {
    vip: SocketAddrV4,
    service: ServiceIndex,
    policy: PolicyMaps,
    backends: Array<MapData, Backend>,
    of_services: Array<MapData, ServiceGuard>,
    of_backends: Array<MapData, BackendGuard>,
}

impl Guards {
    /// Of the service at `vip`, which the node has.
    pub fn open(node: &Node, vip: SocketAddrV4) -> anyhow::Result<Self> {
        let frontends: HashMap<MapData, FrontendKey, Frontend> =
            Map::HashMap(open(node, names::FRONTENDS)?).try_into()?;
        let key = FrontendKey::new(IpKey::from_v4(*vip.ip()), vip.port(), TCP);
        let service = frontends.get(&key, 0).with_context(|| format!("no service at {vip}"))?;
        Ok(Self {
            vip,
            service: service.service,
            policy: PolicyMaps::open(node)?,
            backends: Map::Array(open(node, names::BACKENDS)?).try_into()?,
            of_services: Map::Array(open(node, names::SERVICE_GUARDS)?).try_into()?,
            of_backends: Map::Array(open(node, names::BACKEND_GUARDS)?).try_into()?,
        })
    }

    /// Of the whole service.
    pub fn service(&self) -> anyhow::Result<ServiceGuard> {
        Ok(self.of_services.get(&self.service.index, 0)?)
    }

    /// Of one of its backends.
    pub fn backend(&self, address: Ipv4Addr) -> anyhow::Result<BackendGuard> {
        let address = IpKey::from_v4(address);
        for index in 1..self.backends.len() {
            let backend = self.backends.get(&index, 0)?;
            if backend.service == self.service && backend.addr == address && backend.port != 0 {
                return Ok(self.of_backends.get(&index, 0)?);
            }
        }
        anyhow::bail!("{} has no backend {address:?}", self.vip)
    }

    /// The part of the new connections that each backend gets.
    pub fn shares(&self) -> anyhow::Result<BTreeMap<IpAddr, f64>> {
        self.policy.shares(self.vip)
    }

    /// Waits until neither the service nor one of these backends has a connection.
    pub fn wait_empty(&self, backends: &[Ipv4Addr]) -> anyhow::Result<()> {
        eventually(|| {
            let loads = self.loads(backends).map_err(|error| error.to_string())?;
            if loads.iter().all(|load| *load == 0) {
                return Ok(());
            }
            let loads: Vec<_> =
                loads.iter().map(|word| (load::active(*word), load::pending(*word))).collect();
            Err(format!("connections (all, pending) of service and backends remain: {loads:?}"))
        })
    }

    fn loads(&self, backends: &[Ipv4Addr]) -> anyhow::Result<Vec<u64>> {
        let mut loads = vec![self.service()?.load];
        for backend in backends {
            loads.push(self.backend(*backend)?.load);
        }
        Ok(loads)
    }
}
