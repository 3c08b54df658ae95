//! The pinned maps of the kernel.

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError as AyaError, PerCpuArray, PerCpuValues};
use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::names;
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;
use mesh_common::tunables::Tunables;

use super::{Held, MapError, MapStore};
use crate::bpf;
use crate::bpf::load::map_path;
use crate::compile::Limits;
use crate::diff::MapOp;
use crate::image::MapImage;

/// The pinned maps, open.
pub struct KernelMaps {
    frontends: HashMap<MapData, FrontendKey, Frontend>,
    services: Array<MapData, ServiceHead>,
    slots: Array<MapData, Slot>,
    backends: Array<MapData, Backend>,
    backend_counters: PerCpuArray<MapData, BackendCounters>,
    service_counters: PerCpuArray<MapData, ServiceCounters>,
    reasons: PerCpuArray<MapData, ReasonCount>,
    tunables: Array<MapData, Tunables>,
    limits: Limits,
    cpus: usize,
}

impl KernelMaps {
    /// Opens what is pinned below `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        let (frontends, frontend_limit) = pinned(pin_path, names::FRONTENDS, Map::HashMap)?;
        let (services, service_limit) = pinned(pin_path, names::SERVICES, Map::Array)?;
        let (slots, slot_limit) = pinned(pin_path, names::SLOTS, Map::Array)?;
        let (backends, backend_limit) = pinned(pin_path, names::BACKENDS, Map::Array)?;
        Ok(Self {
            frontends,
            services,
            slots,
            backends,
            backend_counters: pinned(pin_path, names::BACKEND_COUNTERS, Map::PerCpuArray)?.0,
            service_counters: pinned(pin_path, names::SERVICE_COUNTERS, Map::PerCpuArray)?.0,
            reasons: pinned(pin_path, names::REASONS, Map::PerCpuArray)?.0,
            tunables: pinned(pin_path, names::TUNABLES, Map::Array)?.0,
            limits: Limits {
                frontends: frontend_limit,
                services: service_limit,
                slots: slot_limit,
                backends: backend_limit,
            },
            cpus: aya::util::nr_cpus().map_err(|(_, source)| MapError::Read {
                map: names::REASONS,
                source: source.into(),
            })?,
        })
    }

    /// Counts of all reasons, summed over the CPUs.
    pub fn reasons(&self) -> Result<Vec<(&'static str, u64)>, MapError> {
        Reason::NAMES
            .into_iter()
            .map(|(reason, name)| {
                let values =
                    self.reasons.get(&reason.code, 0).map_err(read_error(names::REASONS))?;
                Ok((name, values.iter().map(|value| value.count).sum()))
            })
            .collect()
    }

    fn zeroes<T: aya::Pod + Default>(
        &self,
        map: &'static str,
    ) -> Result<PerCpuValues<T>, MapError> {
        PerCpuValues::try_from(vec![T::default(); self.cpus])
            .map_err(|source| MapError::Write { map, source: source.into() })
    }
}

/// Opens one map, and says how many entries it holds.
fn pinned<T: TryFrom<Map, Error = AyaError>>(
    pin_path: &Path,
    map: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<(T, u32), MapError> {
    let path = map_path(pin_path, map);
    let open_error = |source: AyaError| MapError::Open {
        path: path.display().to_string(),
        source: source.into(),
    };
    let data = MapData::from_pin(&path).map_err(open_error)?;
    let entries = data.info().map_err(open_error)?.max_entries();
    let typed = T::try_from(kind(data)).map_err(open_error)?;
    Ok((typed, entries))
}

fn read_error(map: &'static str) -> impl Fn(AyaError) -> MapError {
    move |source| MapError::Read { map, source: source.into() }
}

fn write_error(map: &'static str) -> impl Fn(AyaError) -> MapError {
    move |source| {
        if map == names::FRONTENDS
            && let AyaError::SyscallError(error) = &source
            && error.io_error.raw_os_error() == Some(libc::E2BIG)
        {
            return MapError::Full { map, flag: "--max-services" };
        }
        MapError::Write { map, source: source.into() }
    }
}

/// The entries of an array that are not free.
fn used<T: aya::Pod + Default + PartialEq>(
    array: &Array<MapData, T>,
    map: &'static str,
) -> impl Iterator<Item = Result<(u32, T), MapError>> {
    (0..array.len()).filter_map(move |index| match array.get(&index, 0) {
        Ok(value) if value == T::default() => None,
        Ok(value) => Some(Ok((index, value))),
        Err(source) => Some(Err(read_error(map)(source))),
    })
}

impl MapStore for KernelMaps {
    fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        match *op {
            MapOp::PutBackend(BackendIndex { index }, backend) => {
                let zeroes = self.zeroes(names::BACKEND_COUNTERS)?;
                self.backend_counters
                    .set(index, zeroes, 0)
                    .map_err(write_error(names::BACKEND_COUNTERS))?;
                self.backends.set(index, backend, 0).map_err(write_error(names::BACKENDS))
            }
            MapOp::PutSlot(index, slot) => {
                self.slots.set(index, slot, 0).map_err(write_error(names::SLOTS))
            }
            MapOp::ResetService(ServiceIndex { index }) => {
                let zeroes = self.zeroes(names::SERVICE_COUNTERS)?;
                self.service_counters
                    .set(index, zeroes, 0)
                    .map_err(write_error(names::SERVICE_COUNTERS))
            }
            MapOp::PutService(ServiceIndex { index }, head) => {
                self.services.set(index, head, 0).map_err(write_error(names::SERVICES))
            }
            MapOp::PutFrontend(key, frontend) => {
                self.frontends.insert(key, frontend, 0).map_err(write_error(names::FRONTENDS))
            }
            MapOp::DeleteFrontend(key) => match self.frontends.remove(&key) {
                Ok(()) | Err(AyaError::KeyNotFound) => Ok(()),
                Err(source) => Err(write_error(names::FRONTENDS)(source)),
            },
            MapOp::Grace => bpf::grace().map_err(MapError::Grace),
            MapOp::ClearService(ServiceIndex { index }) => self
                .services
                .set(index, ServiceHead::default(), 0)
                .map_err(write_error(names::SERVICES)),
            MapOp::ClearSlot(index) => {
                self.slots.set(index, Slot::default(), 0).map_err(write_error(names::SLOTS))
            }
            MapOp::ClearBackend(BackendIndex { index }) => self
                .backends
                .set(index, Backend::default(), 0)
                .map_err(write_error(names::BACKENDS)),
        }
    }

    fn read(&self) -> Result<MapImage, MapError> {
        let mut image = MapImage::default();
        for entry in &self.frontends {
            let (key, frontend) = entry.map_err(read_error(names::FRONTENDS))?;
            image.frontends.insert(key, frontend.service);
        }
        for entry in used(&self.services, names::SERVICES) {
            let (index, head) = entry?;
            image.services.insert(ServiceIndex { index }, head);
        }
        image.slots = used(&self.slots, names::SLOTS).collect::<Result<_, _>>()?;
        for entry in used(&self.backends, names::BACKENDS) {
            let (index, backend) = entry?;
            image.backends.insert(BackendIndex { index }, backend);
        }
        Ok(image)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn set_held(&mut self, held: Held) -> Result<(), MapError> {
        let mut tunables = self.tunables.get(&0, 0).map_err(read_error(names::TUNABLES))?;
        tunables.revision = held.revision;
        tunables.commit = held.commit;
        self.tunables.set(0, tunables, 0).map_err(write_error(names::TUNABLES))
    }

    fn held(&self) -> Result<Held, MapError> {
        let Tunables { revision, commit, .. } =
            self.tunables.get(&0, 0).map_err(read_error(names::TUNABLES))?;
        Ok(Held { revision, commit })
    }

    fn backend_counters(&self, index: BackendIndex) -> Result<BackendCounters, MapError> {
        let values = self
            .backend_counters
            .get(&index.index, 0)
            .map_err(read_error(names::BACKEND_COUNTERS))?;
        Ok(values.iter().copied().fold(BackendCounters::default(), BackendCounters::plus))
    }

    fn service_counters(&self, index: ServiceIndex) -> Result<ServiceCounters, MapError> {
        let values = self
            .service_counters
            .get(&index.index, 0)
            .map_err(read_error(names::SERVICE_COUNTERS))?;
        Ok(values.iter().copied().fold(ServiceCounters::default(), ServiceCounters::plus))
    }
}
