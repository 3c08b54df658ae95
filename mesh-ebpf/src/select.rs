//! Chooses the backend for a client, reading again what the agent was rewriting.

use mesh_common::affinity::{Affinity, AffinityKey};
use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::enrol::{CgroupKey, MAX_DEPTH, NetnsKey, Verdict};
use mesh_common::logic::connect::{
    MAX_TRIES, Place, belongs, choose, hashed, place, sticks, turn, without_backend,
};
use mesh_common::logic::enrol::enrolled;
use mesh_common::reason::Reason;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockAddr};
use crate::{maps, telemetry};

/// `BPF_NOEXIST`: only where there is no entry yet.
const NOEXIST: u64 = 1;

/// A backend for a connection.
pub(crate) struct Chosen {
    pub(crate) index: BackendIndex,
    pub(crate) backend: Backend,
    /// Whether the choice asks for the number of connections, so that this one is to be added.
    pub(crate) counted: bool,
}

/// Whether the client is enrolled. Costs one array lookup unless a filter is on.
#[inline(always)]
pub(crate) fn is_enrolled<const V6: bool>(ctx: &SockAddr<V6>, service: ServiceIndex) -> bool {
    let flags = telemetry::flags();
    let filters = TunableFlags::CGROUP_FILTER.bits | TunableFlags::NETNS_FILTER.bits;
    if flags.bits & filters == 0 {
        return true;
    }
    let head = ctx::copy(maps::services.get_ptr(service.index)).unwrap_or_default();
    if head.flags.contains(ServiceFlags::CANARY) {
        return true;
    }
    let cgroup = if flags.contains(TunableFlags::CGROUP_FILTER) { cgroup() } else { None };
    let namespace = if flags.contains(TunableFlags::NETNS_FILTER) {
        let key = NetnsKey { cookie: ctx.netns_cookie() };
        ctx::copy(maps::namespaces.get_ptr(key))
    } else {
        None
    };
    enrolled(flags, cgroup, namespace)
}

/// The verdict on the client's cgroup, or on its nearest parent that has one.
#[inline(always)]
fn cgroup() -> Option<Verdict> {
    let key = CgroupKey { id: ctx::current_cgroup() };
    if let Some(verdict) = ctx::copy(maps::cgroups.get_ptr(key)) {
        return Some(verdict);
    }
    let mut level = MAX_DEPTH;
    while level > 0 {
        level -= 1;
        let key = CgroupKey { id: ctx::current_ancestor(level) };
        if key.id != 0
            && let Some(verdict) = ctx::copy(maps::cgroups.get_ptr(key))
        {
            return Some(verdict);
        }
    }
    None
}

/// Chooses a backend; the reason where there is none.
#[inline(always)]
pub(crate) fn select<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
) -> Result<Chosen, (Reason, ServiceHead)> {
    let mut last = ServiceHead::default();
    for _ in 0..MAX_TRIES {
        let Some(head) = ctx::copy(maps::services.get_ptr(service.index)) else {
            return Err((Reason::DANGLING, last));
        };
        last = head;
        if head.slot_count == 0 {
            return Err((without_backend(&head), head));
        }
        let counted = head.algorithm == Algorithm::LEAST_CONNECTIONS;
        if head.affinity_ms != 0
            && let Some((index, backend)) = returning(ctx, service, &head)
        {
            return Ok(Chosen { index, backend, counted });
        }
        let Some(index) = by_algorithm(ctx, service, &head) else {
            continue;
        };
        let Some(backend) = backend(index, service) else {
            continue;
        };
        if head.affinity_ms != 0 {
            let (index, backend) = remember(ctx, service, &head, index, backend);
            return Ok(Chosen { index, backend, counted });
        }
        return Ok(Chosen { index, backend, counted });
    }
    Err((Reason::TORN, last))
}

/// The backend, if it is the service's.
#[inline(always)]
fn backend(index: BackendIndex, service: ServiceIndex) -> Option<Backend> {
    ctx::copy(maps::backends.get_ptr(index.index)).filter(|backend| belongs(backend, service))
}

#[inline(always)]
fn by_algorithm<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    head: &ServiceHead,
) -> Option<BackendIndex> {
    match head.algorithm {
        Algorithm::ROUND_ROBIN => {
            let state = ctx::shared(maps::service_state.get_ptr_mut(service.index))?;
            at(service, turn(head, ctx::take(&mut state.cursor, 1)))
        }
        Algorithm::LEAST_CONNECTIONS => {
            let first = at(service, place(head, ctx::random()))?;
            let second = at(service, place(head, ctx::random()))?;
            Some(if active(second) < active(first) { second } else { first })
        }
        Algorithm::MAGLEV => at(service, hashed(head, client(ctx, head))),
        _ => at(service, place(head, ctx::random())),
    }
}

#[inline(always)]
fn at(service: ServiceIndex, place: Option<Place>) -> Option<BackendIndex> {
    let place = place?;
    let slot = ctx::copy(maps::slots.get_ptr(place.slot))?;
    choose(&slot, service, place.fraction)
}

#[inline(always)]
fn active(index: BackendIndex) -> u64 {
    ctx::copy(maps::backend_state.get_ptr(index.index)).unwrap_or_default().active
}

/// Who connects, as far as choosing a backend goes. The source address is not known before the
/// route is, and that depends on the backend; what owns addresses is the network namespace.
#[inline(always)]
fn client<const V6: bool>(ctx: &SockAddr<V6>, head: &ServiceHead) -> u64 {
    if head.flags.contains(ServiceFlags::KEY_CONNECTION) {
        ctx.cookie()
    } else if head.flags.contains(ServiceFlags::KEY_WORKLOAD) {
        ctx::current_cgroup()
    } else {
        ctx.netns_cookie()
    }
}

#[inline(always)]
fn affinity_key<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    head: &ServiceHead,
) -> AffinityKey {
    let by_workload = head.flags.contains(ServiceFlags::KEY_WORKLOAD);
    let client = if by_workload { ctx::current_cgroup() } else { ctx.netns_cookie() };
    AffinityKey { client, service, pad: 0 }
}

/// The backend that the client had last, if it still may.
#[inline(always)]
fn returning<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    head: &ServiceHead,
) -> Option<(BackendIndex, Backend)> {
    let key = affinity_key(ctx, service, head);
    let entry = ctx::shared(maps::affinity.get_ptr_mut(key))?;
    let affinity = ctx::load(entry);
    let backend = ctx::copy(maps::backends.get_ptr(affinity.backend.index))?;
    let now = ctx::now_ns();
    if !sticks(&affinity, &backend, service, head.affinity_ms, now) {
        return None;
    }
    ctx::store(&mut entry.used_ns, now);
    Some((affinity.backend, backend))
}

/// Remembers the client's backend. Where another connection of the same client was first, both
/// go to its backend.
#[inline(always)]
fn remember<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    head: &ServiceHead,
    index: BackendIndex,
    backend: Backend,
) -> (BackendIndex, Backend) {
    let key = affinity_key(ctx, service, head);
    let value = Affinity { backend: index, generation: backend.generation, used_ns: ctx::now_ns() };
    if maps::affinity.insert(key, value, NOEXIST).is_ok() {
        return (index, backend);
    }
    if let Some(other) = returning(ctx, service, head) {
        return other;
    }
    if maps::affinity.insert(key, value, 0).is_err() {
        telemetry::count(Reason::AFFINITY_FULL);
    }
    (index, backend)
}
