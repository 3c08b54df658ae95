//! The pinned maps of the kernel. Arrays of policy are mapped into memory, so a write is a few
//! stores; frontends, a hash, are written by system calls, many at a time.

pub mod affinity;
pub mod conns;
mod forget;
mod inbound;
pub mod pairs;
mod pins;
pub mod words;

use std::io;
use std::path::Path;
use std::sync::Arc;

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::names;
use mesh_common::policy::Policy;
use mesh_common::reason::Reason;
use mesh_common::refusal::{RefusalCounters, RefusalKey};
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;
use mesh_common::state::{BackendState, ServiceState};
use mesh_common::tunables::{TunableFlags, Tunables};

use self::forget::Guards;
pub use self::inbound::KernelInbound;
use self::pins::{delete, mapped};
pub(crate) use self::pins::{open_error, pinned, read_error};
use super::inbound::InboundMaps;
use super::{Held, MapError, MapStore};
use crate::bpf;
use crate::bpf::auto::AutoClients;
use crate::bpf::mapped::{Mapped, Order};
use crate::bpf::pinned::{Pinned, boot};
use crate::canary;
use crate::compile::Limits;
use crate::diff::{Forget, MapOp};
use crate::image::MapImage;
use crate::ledger::{Count, Sources};

/// The pinned maps, open.
#[derive(Debug)]
pub struct KernelMaps {
    frontends: Pinned<FrontendKey, Frontend>,
    services: Mapped<ServiceHead>,
    slots: Mapped<Slot>,
    backends: Mapped<Backend>,
    service_state: Mapped<ServiceState>,
    backend_state: Mapped<BackendState>,
    policies: Mapped<Policy>,
    guards: Guards,
    auto: AutoClients,
    backend_counters: Arc<Pinned<u32, BackendCounters>>,
    edges: Pinned<EdgeKey, EdgeCounters>,
    inbound: KernelInbound,
    service_counters: Pinned<u32, ServiceCounters>,
    refusals: Pinned<RefusalKey, RefusalCounters>,
    reasons: Pinned<u32, ReasonCount>,
    tunables: Pinned<u32, Tunables>,
}

impl KernelMaps {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self {
            frontends: pinned(pin_path, names::FRONTENDS)?,
            services: mapped(pin_path, names::SERVICES)?,
            slots: mapped(pin_path, names::SLOTS)?,
            backends: mapped(pin_path, names::BACKENDS)?,
            service_state: mapped(pin_path, names::SERVICE_STATE)?,
            backend_state: mapped(pin_path, names::BACKEND_STATE)?,
            policies: mapped(pin_path, names::POLICIES)?,
            guards: Guards::open(pin_path)?,
            auto: AutoClients::open(pin_path)?,
            backend_counters: Arc::new(pinned(pin_path, names::BACKEND_COUNTERS)?),
            edges: pinned(pin_path, names::EDGES)?,
            inbound: KernelInbound::open(pin_path)?,
            service_counters: pinned(pin_path, names::SERVICE_COUNTERS)?,
            refusals: pinned(pin_path, names::REFUSALS)?,
            reasons: pinned(pin_path, names::REASONS)?,
            tunables: pinned(pin_path, names::TUNABLES)?,
        })
    }

    /// Which maps the programs count in.
    pub fn sources(&self) -> Result<Sources, MapError> {
        let boot = boot().map_err(read_error(names::REASONS))?;
        Ok(Sources {
            boot,
            backends: self.backend_counters.info().id,
            services: self.service_counters.info().id,
            reasons: self.reasons.info().id,
            edges: self.edges.info().id,
            inbound: self.inbound.id(),
            refusals: self.refusals.info().id,
        })
    }

    /// Counts of all reasons, summed over the CPUs.
    pub fn reasons(&self) -> Result<Vec<(Reason, &'static str, ReasonCount)>, MapError> {
        let counts =
            self.reasons.entries(Reason::COUNT, total).map_err(read_error(names::REASONS))?;
        let count = |reason: Reason| {
            let at = usize::try_from(reason.code).unwrap_or(usize::MAX);
            counts.get(at).copied().unwrap_or_default()
        };
        Ok(Reason::NAMES.into_iter().map(|(reason, name)| (reason, name, count(reason))).collect())
    }

    /// How many edges there can be.
    #[must_use]
    pub const fn most_edges(&self) -> u32 {
        self.edges.info().max_entries
    }

    fn put_frontends(&self, entries: &[(FrontendKey, Frontend)]) -> Result<(), MapError> {
        self.frontends.update(entries).map_err(|(_, source)| {
            if source.raw_os_error() == Some(libc::E2BIG) {
                MapError::Full { map: names::FRONTENDS, flag: "--max-services" }
            } else {
                MapError::Write { map: names::FRONTENDS, source: source.into() }
            }
        })
    }
}

/// Whether a store in memory was within the map.
fn stored(map: &'static str, done: bool) -> Result<(), MapError> {
    let beyond = || MapError::Write { map, source: "the index is beyond its end".into() };
    if done { Ok(()) } else { Err(beyond()) }
}

/// The sum over the CPUs.
fn total<C: Count>(values: &[C]) -> C {
    values.iter().fold(C::default(), |sum, value| sum.and(value))
}

/// The entries of an array that are not free.
fn used<T: aya::Pod + Default + PartialEq>(
    array: &Mapped<T>,
) -> impl Iterator<Item = (u32, T)> + '_ {
    (0..).zip(array.iter()).filter(|(_, value)| *value != T::default())
}

const fn frontend_put(op: &MapOp) -> Option<(FrontendKey, Frontend)> {
    if let MapOp::PutFrontend(key, frontend) = op { Some((*key, *frontend)) } else { None }
}

const fn frontend_deleted(op: &MapOp) -> Option<FrontendKey> {
    if let MapOp::DeleteFrontend(key) = op { Some(*key) } else { None }
}

impl MapStore for KernelMaps {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        match *op {
            MapOp::PutBackend(BackendIndex { index }, backend) => {
                let state = self.backend_state.set(index, &BackendState::default(), Order::Up);
                stored(names::BACKEND_STATE, state)?;
                self.guards.zero_backend(index)?;
                // The generation last: who holds an earlier one does not take the entry for his.
                stored(names::BACKENDS, self.backends.set(index, &backend, Order::Up))
            }
            // Whose the slot is comes last when it is put, and first when it is cleared.
            MapOp::PutSlot(index, slot) => {
                stored(names::SLOTS, self.slots.set(index, &slot, Order::Down))
            }
            MapOp::SetBackendFlags(BackendIndex { index }, flags) => {
                let before = self.backends.get(index).unwrap_or_default();
                let backend = Backend { flags, ..before };
                stored(names::BACKENDS, self.backends.set(index, &backend, Order::Up))
            }
            // Base and count are one word. A table without slots needs the rest before it: what
            // to do without a backend.
            MapOp::PutService(ServiceIndex { index }, head) => {
                let before = self.services.get(index).unwrap_or_default();
                let is_free = before == ServiceHead::default();
                if is_free {
                    self.guards.zero_service(index)?;
                }
                // Before the head, so that it is done again if it fails.
                let was_auto = before.flags.contains(ServiceFlags::AUTO);
                if is_free || was_auto && !head.flags.contains(ServiceFlags::AUTO) {
                    self.auto.forget(ServiceIndex { index })?;
                }
                let order = if head.slot_count == 0 { Order::Down } else { Order::Up };
                stored(names::SERVICES, self.services.set(index, &head, order))
            }
            MapOp::PutFrontend(key, frontend) => self.put_frontends(&[(key, frontend)]),
            MapOp::DeleteFrontend(key) => delete(&self.frontends, names::FRONTENDS, &[key]),
            MapOp::PutPolicy(ServiceIndex { index }, policy) => {
                stored(names::POLICIES, self.policies.set(index, &policy, Order::Up))
            }
            MapOp::Accelerate(on) => self.change_tunables(|Tunables { flags, .. }| {
                // Sockets may be in the map of sockets from now on, also when it is off again.
                let both = TunableFlags::ACCELERATION.and(TunableFlags::ENLISTED);
                *flags =
                    if on { flags.and(both) } else { flags.without(TunableFlags::ACCELERATION) };
            }),
            MapOp::ForgetService(ServiceIndex { index }) => {
                self.guards.forget_service(index);
                Ok(())
            }
            MapOp::ForgetBackend(BackendIndex { index }, what) => {
                let backend = self.backends.get(index).unwrap_or_default();
                self.guards.forget_backend(index, backend.service.index, what);
                Ok(())
            }
            MapOp::Grace => bpf::grace().map_err(MapError::Grace),
            MapOp::ClearService(ServiceIndex { index }) => {
                let state = self.service_state.set(index, &ServiceState::default(), Order::Up);
                stored(names::SERVICE_STATE, state)?;
                // While the head is there, so that it is done again if it fails; whatever the head
                // says: its flag may have gone before.
                self.auto.forget(ServiceIndex { index })?;
                let head = ServiceHead::default();
                stored(names::SERVICES, self.services.set(index, &head, Order::Up))?;
                stored(names::POLICIES, self.policies.set(index, &Policy::default(), Order::Up))
            }
            MapOp::ClearSlot(index) => {
                stored(names::SLOTS, self.slots.set(index, &Slot::default(), Order::Up))
            }
            MapOp::ClearBackend(BackendIndex { index }) => {
                let backend = self.backends.get(index).unwrap_or_default();
                let what = Forget { outlier: true, ..Forget::default() };
                self.guards.forget_backend(index, backend.service.index, what);
                stored(names::BACKENDS, self.backends.set(index, &Backend::default(), Order::Down))
            }
        }
    }

    fn apply_all(&mut self, mut ops: &[MapOp]) -> Result<(), MapError> {
        while let [first, rest @ ..] = ops {
            let puts: Vec<_> = ops.iter().map_while(frontend_put).collect();
            let deletes: Vec<_> = ops.iter().map_while(frontend_deleted).collect();
            if !puts.is_empty() {
                self.put_frontends(&puts)?;
                ops = ops.get(puts.len()..).unwrap_or_default();
            } else if !deletes.is_empty() {
                delete(&self.frontends, names::FRONTENDS, &deletes)?;
                ops = ops.get(deletes.len()..).unwrap_or_default();
            } else {
                self.apply(first)?;
                ops = rest;
            }
        }
        Ok(())
    }

    fn read(&self) -> Result<MapImage, MapError> {
        let mut image = MapImage::default();
        self.frontends
            .each(|key, values| {
                if let [frontend] = values {
                    image.frontends.insert(key, frontend.service);
                }
            })
            .map_err(read_error(names::FRONTENDS))?;
        let service = |(index, head)| (ServiceIndex { index }, head);
        image.services = used(&self.services).map(service).collect();
        let policy = |(index, policy)| (ServiceIndex { index }, policy);
        image.policies = used(&self.policies).map(policy).collect();
        image.slots = used(&self.slots).collect();
        let backend = |(index, backend)| (BackendIndex { index }, backend);
        image.backends = used(&self.backends).map(backend).collect();
        image.accelerating = self.tunables()?.flags.contains(TunableFlags::ACCELERATION);
        Ok(image)
    }

    fn limits(&self) -> Limits {
        canary::without_room(Limits {
            frontends: self.frontends.info().max_entries,
            services: self.services.entries(),
            slots: self.slots.entries(),
            backends: self.backends.entries(),
        })
    }

    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        self.change_tunables(|tunables| {
            tunables.revision = held.revision;
            tunables.commit = held.commit;
        })
    }

    fn held(&self) -> Result<Held, MapError> {
        let Tunables { revision, commit, .. } = self.tunables()?;
        Ok(Held { revision, commit })
    }

    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        let values = self.backend_counters.entry(index.index);
        values.map(|values| total(&values)).map_err(read_error(names::BACKEND_COUNTERS))
    }

    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        let values = self.service_counters.entry(index.index);
        values.map(|values| total(&values)).map_err(read_error(names::SERVICE_COUNTERS))
    }

    fn edges(&self) -> Result<Vec<(EdgeKey, EdgeCounters)>, MapError> {
        let mut edges = Vec::new();
        let read = self.edges.each(|key, values| edges.push((key, total(values))));
        read.map_err(read_error(names::EDGES)).map(|()| edges)
    }

    fn delete_edges(&mut self, keys: &[EdgeKey]) -> Result<(), MapError> {
        delete(&self.edges, names::EDGES, keys)
    }

    fn refusals(&self) -> Result<Vec<(RefusalKey, RefusalCounters)>, MapError> {
        let mut refusals = Vec::new();
        let read = self.refusals.each(|key, values| refusals.push((key, total(values))));
        read.map_err(read_error(names::REFUSALS)).map(|()| refusals)
    }

    fn delete_refusals(&mut self, keys: &[RefusalKey]) -> Result<(), MapError> {
        delete(&self.refusals, names::REFUSALS, keys)
    }

    fn inbound(&mut self) -> Option<&mut dyn InboundMaps> {
        Some(&mut self.inbound)
    }

    fn all_backend_counters(&self, end: u32) -> Result<Vec<BackendCounters>, MapError> {
        self.backend_counters.entries(end, total).map_err(read_error(names::BACKEND_COUNTERS))
    }

    fn all_service_counters(&self, end: u32) -> Result<Vec<ServiceCounters>, MapError> {
        self.service_counters.entries(end, total).map_err(read_error(names::SERVICE_COUNTERS))
    }
}

impl KernelMaps {
    /// Has the programs tell of every connection that ends, or only of those that fail.
    pub fn log_access(&self, on: bool) -> Result<(), MapError> {
        self.change_tunables(|Tunables { flags, .. }| {
            let flag = TunableFlags::ACCESS_LOG;
            *flags = if on { flags.and(flag) } else { flags.without(flag) };
        })
    }

    /// Has the programs tell of every connection, for taps, or not.
    pub fn tap(&self, on: bool) -> Result<(), MapError> {
        self.change_tunables(|Tunables { flags, .. }| {
            let flag = TunableFlags::TAP;
            *flags = if on { flags.and(flag) } else { flags.without(flag) };
        })
    }

    /// How many events have found no room in the ring.
    pub fn lost_events(&self) -> Result<u64, MapError> {
        let values = self.reasons.entry(Reason::EVENT_LOST.code);
        values.map(|values| total(&values).count).map_err(read_error(names::REASONS))
    }

    fn tunables(&self) -> Result<Tunables, MapError> {
        let values = self.tunables.entry(0).map_err(read_error(names::TUNABLES))?;
        Ok(values.first().copied().unwrap_or_default())
    }

    /// Reads, changes and writes them. Others do the same with what is theirs: all on one thread, see
    /// [`crate::bpf::enrol`].
    fn change_tunables(&self, change: impl FnOnce(&mut Tunables)) -> Result<(), MapError> {
        let mut tunables = self.tunables()?;
        change(&mut tunables);
        let failed =
            |source: io::Error| MapError::Write { map: names::TUNABLES, source: source.into() };
        self.tunables.update(&[(0, tunables)]).map_err(|(_, source)| failed(source))
    }
}
