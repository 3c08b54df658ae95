//! From the worker, who owns the world, to the checks: what to check, told as it changes.

use std::collections::HashMap;
use std::net::SocketAddr;

use mesh_api::model::{ObjectName, Protocol};
use mesh_common::addr::IpKey;
use mesh_common::frontend::FrontendKey;
use mesh_health::checker::{Handle, Target};

use super::targets::{Changes, Targets};
use crate::bpf::enrol::EnrolMaps;
use crate::maps::MapStore;
use crate::reconcile::Reconciler;

/// The worker's end.
#[derive(Debug)]
pub struct Feed {
    targets: Targets,
    handle: Handle,
    withheld: Withheld,
    /// Whether the programs ask for sockets that go their own way.
    direct: Option<bool>,
}

impl Feed {
    /// Nothing is told yet.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { targets: Targets::default(), handle, withheld: Withheld::default(), direct: None }
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
            self.tell(news);
        } else if self.direct != Some(self.targets.has_direct()) {
            self.set_direct(maps);
            self.tell(Changes::new());
        }
    }

    fn tell(&mut self, news: Changes) {
        let news = self.withheld.pass(news, self.direct == Some(true));
        if !news.is_empty() {
            self.handle.change(news);
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
                tracing::warn!(%error, "endpoints at the address of a service are not checked; trying again");
            }
        }
    }
}

/// Targets whose sockets would be redirected, because the programs do not ask for such that go their
/// own way: the check would be of some other endpoint.
#[derive(Debug, Default)]
struct Withheld(HashMap<ObjectName, Target>);

impl Withheld {
    /// What of the news is passed on, with what was withheld as soon as the programs ask (`direct`).
    fn pass(&mut self, news: Changes, direct: bool) -> Changes {
        let mut passed = Changes::with_capacity(news.len());
        for (name, target) in news {
            self.0.remove(&name);
            match target {
                Some(target) if target.prepared && !direct => {
                    self.0.insert(name.clone(), target);
                    // It may be checked already, from before its address was a service's.
                    passed.push((name, None));
                }
                Some(_) | None => passed.push((name, target)),
            }
        }
        if direct {
            passed.extend(self.0.drain().map(|(name, target)| (name, Some(target))));
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_api::model::Health;

    use super::*;
    use crate::testing::{health_check, name};

    #[test]
    fn what_would_be_redirected_waits_until_it_is_not() {
        let check = Arc::new(health_check(Health::Healthy));
        let address = "10.96.0.9:80".parse().unwrap();
        let target = |prepared| Some(Target { address, check: Arc::clone(&check), prepared });
        let mut withheld = Withheld::default();
        let both = vec![(name("a"), target(true)), (name("b"), target(false))];
        let passed = withheld.pass(both, false);
        assert_eq!(passed, [(name("a"), None), (name("b"), target(false))]);
        assert_eq!(withheld.pass(Changes::new(), false), []);
        // What is gone or needs it no longer does not come back.
        withheld.pass(vec![(name("c"), target(true)), (name("d"), target(true))], false);
        let passed = withheld.pass(vec![(name("c"), None), (name("d"), target(false))], false);
        assert_eq!(passed, [(name("c"), None), (name("d"), target(false))]);
        assert_eq!(withheld.pass(Changes::new(), true), [(name("a"), target(true))]);
        let passed = withheld.pass(vec![(name("e"), target(true))], true);
        assert_eq!(passed, [(name("e"), target(true))]);
    }
}
