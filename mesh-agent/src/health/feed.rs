//! From the worker, who owns the world, to the checks: what to check, told as it changes.

use std::net::SocketAddr;

use mesh_api::model::Protocol;
use mesh_common::addr::IpKey;
use mesh_common::frontend::FrontendKey;
use mesh_health::checker::Handle;

use super::targets::Targets;
use crate::bpf::enrol::EnrolMaps;
use crate::maps::MapStore;
use crate::reconcile::Reconciler;

/// The worker's end.
#[derive(Debug)]
pub struct Feed {
    targets: Targets,
    handle: Handle,
    /// Whether the programs ask for sockets that go their own way.
    direct: Option<bool>,
}

impl Feed {
    /// Nothing is told yet.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { targets: Targets::default(), handle, direct: None }
    }

    /// Tells what has changed since the last time; costs nothing where nothing has.
    pub fn follow<M: MapStore>(&mut self, reconciler: &mut Reconciler<M>, maps: &mut EnrolMaps) {
        let changed = reconciler.take_to_check();
        if !changed.is_empty() {
            let frontends = &reconciler.actual().frontends;
            let is_frontend = |address: SocketAddr| {
                let addr = IpKey::from_ip(address.ip());
                let tcp = Protocol::Tcp.number();
                frontends.contains_key(&FrontendKey::new(addr, address.port(), tcp))
            };
            let news = self.targets.update(reconciler.world(), &changed, is_frontend);
            // The programs ask before the first such socket is there.
            self.set_direct(maps);
            if !news.is_empty() {
                self.handle.change(news);
            }
        } else if self.direct != Some(self.targets.has_direct()) {
            self.set_direct(maps);
        }
    }

    fn set_direct(&mut self, maps: &mut EnrolMaps) {
        let wanted = self.targets.has_direct();
        if self.direct == Some(wanted) {
            return;
        }
        match maps.set_direct(wanted) {
            Ok(()) => self.direct = Some(wanted),
            Err(error) => {
                tracing::warn!(%error, "health checks of addresses that are a service's as well are redirected");
            }
        }
    }
}
