//! Totals of what the programs count about guards: their words begin anew when an index gets
//! another holder, totals do not. Pure.

use std::collections::BTreeMap;

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
const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// A service's port.
pub type Port = (ObjectName, u16);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections refused.
    pub refused: BTreeMap<Port, Refused>,
    /// Times a connection went to another endpoint instead.
    pub skipped: BTreeMap<(Port, Name), u64>,
    services: BTreeMap<ServiceIndex, (Port, Refused)>,
    backends: BTreeMap<BackendIndex, (u32, u64)>,
}

/// Names without any index that are kept.
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
        while self.skipped.len() > MOST {
            self.skipped.pop_first();
        }
        while self.refused.len() > MOST {
            self.refused.pop_first();
        }
    }
}
