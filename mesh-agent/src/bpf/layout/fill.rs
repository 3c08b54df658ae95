//! Carries entries from old maps to new ones.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use aya::Pod;
use mesh_common::affinity::{Affinity, AffinityKey};
use mesh_common::backend::Backend;
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::enrol::{CgroupKey, NetnsKey, Verdict};
use mesh_common::frontend::{Frontend, FrontendKey};
use mesh_common::guard::{BackendGuard, ServiceGuard};
use mesh_common::names;
use mesh_common::policy::Policy;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::slot::Slot;

use super::{LayoutError, Sizes};
use crate::bpf::pinned::{Pinned, boot, bytes};
use crate::ledger::{Count, Last, Sources};

pub(super) fn failed(map: &'static str) -> impl Fn(io::Error) -> LayoutError {
    move |source| LayoutError::Fill { map, source }
}

/// How large the maps in a directory have to be to hold what users have where it is. In a hash,
/// nothing has a place, so the number of entries counts.
pub(in crate::bpf) fn used(directory: &Path) -> Result<Sizes, LayoutError> {
    fn end<V: Owned>(
        directory: &Path,
        map: &'static str,
        canaries: &Canaries,
    ) -> Result<u32, LayoutError> {
        let mut end = 0;
        each(directory, map, |index: u32, value: V| {
            if !is_zero(&value) && !canaries.contains(&value.service(index)) {
                end = end.max(index.saturating_add(1));
            }
        })?;
        Ok(end)
    }
    fn number<K: Pod, V: Pod>(directory: &Path, map: &'static str) -> Result<u32, LayoutError> {
        let mut number = 0;
        each(directory, map, |_: K, _: V| number += 1)?;
        Ok(number)
    }
    let own = canaries(directory)?;
    let mut frontends = 0;
    each(directory, names::FRONTENDS, |_: FrontendKey, frontend: Frontend| {
        frontends += u32::from(!own.contains(&frontend.service));
    })?;
    Ok(Sizes::from([
        (names::FRONTENDS, frontends),
        (names::SERVICES, end::<ServiceHead>(directory, names::SERVICES, &own)?),
        (names::SLOTS, end::<Slot>(directory, names::SLOTS, &own)?),
        (names::BACKENDS, end::<Backend>(directory, names::BACKENDS, &own)?),
        (names::CGROUPS, number::<CgroupKey, Verdict>(directory, names::CGROUPS)?),
        (names::NAMESPACES, number::<NetnsKey, Verdict>(directory, names::NAMESPACES)?),
        (names::AFFINITY, number::<AffinityKey, Affinity>(directory, names::AFFINITY)?),
    ]))
}

/// The canary's services: they lie behind everybody else's, wherever that is, and are put anew.
type Canaries = BTreeSet<ServiceIndex>;

fn canaries(directory: &Path) -> Result<Canaries, LayoutError> {
    let mut found = Canaries::new();
    each(directory, names::SERVICES, |index: u32, head: ServiceHead| {
        if head.flags.contains(ServiceFlags::CANARY) {
            found.insert(ServiceIndex { index });
        }
    })?;
    Ok(found)
}

/// An entry that belongs to a service.
trait Owned: Pod {
    /// Which one, of the entry at this index.
    fn service(&self, index: u32) -> ServiceIndex;
}

impl Owned for ServiceHead {
    fn service(&self, index: u32) -> ServiceIndex {
        ServiceIndex { index }
    }
}

impl Owned for Slot {
    fn service(&self, _index: u32) -> ServiceIndex {
        self.service
    }
}

impl Owned for Backend {
    fn service(&self, _index: u32) -> ServiceIndex {
        self.service
    }
}

/// Visits the entries of a map; none where there is no such map.
pub(super) fn each<K: Pod, V: Pod>(
    directory: &Path,
    map: &'static str,
    mut with: impl FnMut(K, V),
) -> Result<(), LayoutError> {
    let old: Pinned<K, V> = match Pinned::open(&directory.join(map)) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(map)(error)),
    };
    old.each(|key, values| {
        if let [value] = values {
            with(key, *value);
        }
    })
    .map_err(failed(map))
}

fn is_zero<V: Pod>(value: &V) -> bool {
    bytes(value).iter().all(|byte| *byte == 0)
}

/// Copies a map from one directory to another.
type Copy = fn(&Path, &Path, &'static str, &Canaries) -> Result<(), LayoutError>;

/// Without limits: the loads start from zero, and below that when connections end that began in
/// the old maps. `absorb` brings both.
fn policies(
    old: &Path,
    new: &Path,
    map: &'static str,
    _canaries: &Canaries,
) -> Result<(), LayoutError> {
    let mut entries: Vec<(u32, Policy)> = Vec::new();
    each(old, map, |index: u32, value: Policy| {
        if !is_zero(&value) {
            entries.push((index, without_limits(value)));
        }
    })?;
    write(new, map, &entries)
}

/// Indices beyond what users have are the canary's, which has no guards.
fn guards<V: State>(
    old: &Path,
    new: &Path,
    map: &'static str,
    _canaries: &Canaries,
) -> Result<(), LayoutError> {
    let mut entries: Vec<(u32, V)> = Vec::new();
    each(old, map, |index: u32, value: V| {
        let state = value.state();
        if !is_zero(&state) {
            entries.push((index, state));
        }
    })?;
    write(new, map, &entries)
}

fn write<K: Pod, V: Pod>(
    new: &Path,
    map: &'static str,
    entries: &[(K, V)],
) -> Result<(), LayoutError> {
    let new: Pinned<K, V> = Pinned::open(&new.join(map)).map_err(failed(map))?;
    new.update(entries).map_err(|(_, source)| failed(map)(source))
}

/// Copies the entries of every replaced map. What clients use to come back to their backend goes
/// last, because it changes until the programs have gone over.
pub(in crate::bpf) fn fill(replaced: &[&str], old: &Path, new: &Path) -> Result<(), LayoutError> {
    fn array<V: Owned>(
        old: &Path,
        new: &Path,
        map: &'static str,
        canaries: &Canaries,
    ) -> Result<(), LayoutError> {
        let mut entries: Vec<(u32, V)> = Vec::new();
        each(old, map, |index: u32, value: V| {
            if !is_zero(&value) && !canaries.contains(&value.service(index)) {
                entries.push((index, value));
            }
        })?;
        write(new, map, &entries)
    }
    fn hash<K: Pod, V: Pod>(
        old: &Path,
        new: &Path,
        map: &'static str,
        _canaries: &Canaries,
    ) -> Result<(), LayoutError> {
        let mut entries: Vec<(K, V)> = Vec::new();
        each(old, map, |key, value| entries.push((key, value)))?;
        write(new, map, &entries)
    }
    // The programs go on adding clients; one that finds no room chooses again.
    fn clients(
        old: &Path,
        new: &Path,
        map: &'static str,
        canaries: &Canaries,
    ) -> Result<(), LayoutError> {
        match hash::<AffinityKey, Affinity>(old, new, map, canaries) {
            Err(LayoutError::Fill { source, .. }) if source.raw_os_error() == Some(libc::E2BIG) => {
                Ok(())
            }
            other => other,
        }
    }
    fn frontends(
        old: &Path,
        new: &Path,
        map: &'static str,
        canaries: &Canaries,
    ) -> Result<(), LayoutError> {
        let mut entries: Vec<(FrontendKey, Frontend)> = Vec::new();
        each(old, map, |key, value: Frontend| {
            if !canaries.contains(&value.service) {
                entries.push((key, value));
            }
        })?;
        write(new, map, &entries)
    }
    let own = canaries(old)?;
    let copies: [(&str, Copy); 10] = [
        (names::POLICIES, policies),
        (names::BACKEND_GUARDS, guards::<BackendGuard>),
        (names::SERVICE_GUARDS, guards::<ServiceGuard>),
        (names::BACKENDS, array::<Backend>),
        (names::SLOTS, array::<Slot>),
        (names::SERVICES, array::<ServiceHead>),
        (names::FRONTENDS, frontends),
        (names::CGROUPS, hash::<CgroupKey, Verdict>),
        (names::NAMESPACES, hash::<NetnsKey, Verdict>),
        (names::AFFINITY, clients),
    ];
    for (map, copy) in copies {
        if replaced.contains(&map) {
            copy(old, new, map, &own)?;
        }
    }
    Ok(())
}

/// A guard without its numbers.
trait State: Pod {
    fn state(&self) -> Self;
}

impl State for ServiceGuard {
    fn state(&self) -> Self {
        Self { breaker: self.breaker, ejected: self.ejected, ..Self::default() }
    }
}

impl State for BackendGuard {
    fn state(&self) -> Self {
        Self { breaker: self.breaker, outlier: self.outlier, ..Self::default() }
    }
}

/// A policy that lets any number of connections be.
pub(super) const fn without_limits(mut policy: Policy) -> Policy {
    policy.service.max_connections = 0;
    policy.service.max_pending = 0;
    policy.backend.max_connections = 0;
    policy.backend.max_pending = 0;
    policy
}

/// Which maps a directory has, and what they have counted.
pub(super) fn last(directory: &Path) -> Result<(Sources, Last), LayoutError> {
    fn counted<C: Pod + Count>(
        directory: &Path,
        map: &'static str,
    ) -> Result<(u32, Vec<C>), LayoutError> {
        let counters: Pinned<u32, C> = Pinned::open(&directory.join(map)).map_err(failed(map))?;
        let total = |values: &[C]| values.iter().fold(C::default(), |sum, value| sum.and(value));
        let all = counters.entries(u32::MAX, total).map_err(failed(map))?;
        Ok((counters.info().id, all))
    }
    let (backend_id, backends) = counted::<BackendCounters>(directory, names::BACKEND_COUNTERS)?;
    let (service_id, services) = counted::<ServiceCounters>(directory, names::SERVICE_COUNTERS)?;
    let (reason_id, reasons) = counted::<ReasonCount>(directory, names::REASONS)?;
    let boot = boot().map_err(failed(names::REASONS))?;
    let sources = Sources {
        boot,
        backends: backend_id,
        services: service_id,
        reasons: reason_id,
        // It stays.
        edges: 0,
        inbound: 0,
        refusals: 0,
    };
    let mut last = Last { backends, services, reasons, own: ServiceCounters::default() };
    // The indices of the canary are somebody else's in larger maps.
    let own = canaries(directory)?;
    for index in &own {
        last.own = last.own.and(&take(&mut last.services, index.index));
    }
    each(directory, names::BACKENDS, |index: u32, backend: Backend| {
        if own.contains(&backend.service) {
            take(&mut last.backends, index);
        }
    })?;
    Ok((sources, last))
}

/// What an index has counted, which becomes 0.
fn take<C: Default>(counters: &mut [C], index: u32) -> C {
    let at = usize::try_from(index).ok().and_then(|at| counters.get_mut(at));
    at.map(std::mem::take).unwrap_or_default()
}
