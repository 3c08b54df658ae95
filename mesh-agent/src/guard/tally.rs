//! Totals of what the programs count about guards: their words begin anew when an index gets
//! another holder, totals do not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::model::{Name, ObjectName};
use mesh_common::backend::BackendIndex;
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::service::ServiceIndex;

use super::directory::Directory;

/// Connections refused, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The breaker is open.
    pub open: u64,
    /// There are as many connections as may be.
    pub connections: u64,
    /// As many are being made as may be.
    pub pending: u64,
    /// No backend that was looked at could take one.
    pub backends: u64,
}

impl Refused {
    const fn of(guard: &ServiceGuard) -> Self {
        Self {
            open: guard.refused_open,
            connections: guard.refused_connections,
            pending: guard.refused_pending,
            backends: guard.refused_backends,
        }
    }

    const fn grow(&mut self, before: &Self, now: &Self) {
        self.open += grown(before.open, now.open);
        self.connections += grown(before.connections, now.connections);
        self.pending += grown(before.pending, now.pending);
        self.backends += grown(before.backends, now.backends);
    }
}

/// What has been added to a count that may have begun anew.
pub(super) const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// A service's port.
pub type Port = (ObjectName, u16);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections refused.
    pub refused: BTreeMap<Port, Refused>,
    /// Times an endpoint was asked for a place and had none.
    pub skipped: BTreeMap<(Port, Name), u64>,
    services: BTreeMap<ServiceIndex, (Port, Refused)>,
    backends: BTreeMap<BackendIndex, (u32, u64)>,
}

/// Names that are kept, but for those in use.
const MOST: usize = 10_000;

impl Tally {
    /// Adds what has been counted since the last time.
    pub fn look(
        &mut self,
        directory: &Directory,
        service: impl Fn(ServiceIndex) -> ServiceGuard,
        backend: impl Fn(BackendIndex) -> BackendGuard,
    ) {
        for entry in &directory.services {
            let port = (entry.name.clone(), entry.port);
            let now = Refused::of(&service(entry.index));
            let before = self.services.insert(entry.index, (port.clone(), now));
            // The words of a new holder began at 0.
            let before = before.filter(|(known, _)| *known == port).map(|(_, counted)| counted);
            self.refused.entry(port.clone()).or_default().grow(&before.unwrap_or_default(), &now);
            for holder in &entry.backends {
                let now = backend(holder.index).skipped;
                let before = self.backends.insert(holder.index, (holder.generation, now));
                let before = before.filter(|(generation, _)| *generation == holder.generation);
                let new = grown(before.map_or(0, |(_, counted)| counted), now);
                if new > 0 {
                    *self.skipped.entry((port.clone(), holder.endpoint.clone())).or_default() +=
                        new;
                }
            }
        }
        self.forget(directory, MOST);
    }

    /// Drops names that have no index any more, the first ones, where there are more than `most`.
    /// Those that have one stay, however many: they would only come again, from 0.
    fn forget(&mut self, directory: &Directory, most: usize) {
        let (skipped, refused) = (self.skipped.len(), self.refused.len());
        if skipped <= most && refused <= most {
            return;
        }
        let mut live: BTreeMap<(&ObjectName, u16), BTreeSet<&Name>> = BTreeMap::new();
        for entry in &directory.services {
            let endpoints = live.entry((&entry.name, entry.port)).or_default();
            endpoints.extend(entry.backends.iter().map(|holder| &holder.endpoint));
        }
        let has_port = |(name, port): &Port| live.contains_key(&(name, *port));
        let has = |(name, port): &Port, endpoint: &Name| {
            live.get(&(name, *port)).is_some_and(|endpoints| endpoints.contains(endpoint))
        };
        let mut surplus = skipped.saturating_sub(most);
        self.skipped.retain(|(port, endpoint), _| {
            surplus == 0 || has(port, endpoint) || {
                surplus -= 1;
                false
            }
        });
        let mut surplus = refused.saturating_sub(most);
        self.refused.retain(|port, _| {
            surplus == 0 || has_port(port) || {
                surplus -= 1;
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::policy::Policy;

    use super::*;
    use crate::compile::Family;
    use crate::guard::directory::{Entry, Holder};

    fn directory(names: &[&str]) -> Directory {
        let entry = |name: &&str| {
            let endpoint = format!("{name}-1").parse().unwrap();
            let index = BackendIndex { index: u32::from(name.as_bytes()[0]) };
            Entry {
                index: ServiceIndex { index: index.index },
                name: format!("default/{name}").parse().unwrap(),
                port: 80,
                family: Family::V4,
                percentage: None,
                policy: Policy::default(),
                backends: vec![Holder { index, generation: 5, endpoint }],
            }
        };
        let services = names.iter().map(entry).collect();
        Directory { services, counts_active: false }
    }

    #[test]
    fn names_that_are_used_stay_however_many_there_are() {
        let mut tally = Tally::default();
        let look = |tally: &mut Tally, directory: &Directory, count| {
            let service = |_| ServiceGuard { refused_open: count, ..ServiceGuard::default() };
            let backend = |_| BackendGuard { skipped: count, ..BackendGuard::default() };
            tally.look(directory, service, backend);
        };
        let all = directory(&["a", "b", "c", "d"]);
        look(&mut tally, &all, 3);
        tally.forget(&all, 2);
        assert_eq!((tally.skipped.len(), tally.refused.len()), (4, 4));
        // Of those that have gone, as many as are too many.
        let some = directory(&["a", "d"]);
        look(&mut tally, &some, 7);
        tally.forget(&some, 3);
        let left: Vec<String> = tally.refused.keys().map(|(name, _)| name.to_string()).collect();
        assert_eq!(left, ["default/a", "default/c", "default/d"]);
        let left: Vec<(String, u64)> =
            tally.skipped.iter().map(|((_, name), count)| (name.to_string(), *count)).collect();
        let expected = [("a-1", 7), ("c-1", 3), ("d-1", 7)];
        assert_eq!(left, expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
