//! Chooses the backend for a client, reading again what the agent was rewriting.

use mesh_common::affinity::{Affinity, AffinityKey};
use mesh_common::backend::{Backend, BackendFlags, BackendIndex};
use mesh_common::conn::ConnFlags;
use mesh_common::enrol::{CgroupKey, MAX_DEPTH, NetnsKey, Verdict};
use mesh_common::logic::connect::{
    MAX_PICKS, MAX_TRIES, Place, belongs, choose, hashed, mix, place, sticks, turn, without_backend,
};
use mesh_common::logic::enrol::enrolled;
use mesh_common::reason::Reason;
use mesh_common::service::{Algorithm, ServiceFlags, ServiceHead, ServiceIndex};
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockAddr};
use crate::{guard, maps, parts, release, telemetry};

/// `BPF_NOEXIST`: only where there is no entry yet.
const NOEXIST: u64 = 1;

/// How many backends of a guarded service are asked as its algorithm says.
const DRAWS: u64 = 3;

/// A backend for a connection.
pub(crate) struct Chosen {
    pub(crate) index: BackendIndex,
    pub(crate) backend: &'static Backend,
    /// What has to be undone at the end of the connection.
    pub(crate) flags: ConnFlags,
    /// Whether the socket is to be told timeouts.
    pub(crate) timed: bool,
    /// Whether limits, breakers or ejections are to be asked.
    guarded: bool,
}

impl Chosen {
    #[inline(always)]
    fn new(index: BackendIndex, backend: &'static Backend, head: &ServiceHead) -> Self {
        Self {
            index,
            backend,
            flags: counted(head).and(accelerated(head, backend)),
            timed: head.flags.contains(ServiceFlags::TIMED),
            guarded: head.flags.contains(ServiceFlags::GUARDED),
        }
    }
}

/// Whether the choice asks for the number of connections, so that this one is to be added.
#[inline(always)]
const fn counted(head: &ServiceHead) -> ConnFlags {
    if head.algorithm.code == Algorithm::LEAST_CONNECTIONS.code {
        ConnFlags::ACTIVE
    } else {
        ConnFlags { bits: 0 }
    }
}

/// Whether the connection's two ends are on this node and may talk past the network stack.
#[inline(always)]
fn accelerated(head: &ServiceHead, backend: &Backend) -> ConnFlags {
    let here = BackendFlags { bits: ctx::load(&backend.flags.bits) }.contains(BackendFlags::LOCAL);
    if head.flags.contains(ServiceFlags::ACCELERATED) && here {
        ConnFlags::ACCELERATED
    } else {
        ConnFlags { bits: 0 }
    }
}

/// Why the mesh leaves the client alone, if it does. Costs one array lookup unless a filter is on.
#[inline(always)]
pub(crate) fn left_alone<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
) -> Option<Reason> {
    let flags = telemetry::flags();
    let filters = TunableFlags::CGROUP_FILTER.bits
        | TunableFlags::NETNS_FILTER.bits
        | TunableFlags::DIRECT.bits;
    if flags.bits & filters == 0 {
        return None;
    }
    if flags.contains(TunableFlags::DIRECT) && ctx.owner().is_direct() {
        return Some(Reason::DIRECT);
    }
    if is_enrolled(ctx, service, flags) { None } else { Some(Reason::NOT_ENROLLED) }
}

#[inline(always)]
fn is_enrolled<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    flags: TunableFlags,
) -> bool {
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

/// Chooses a backend; the reason where there is none. `GUARD` asks limits and breakers, where the
/// service has any.
#[inline(always)]
pub(crate) fn select<const V6: bool, const GUARD: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
) -> Result<Chosen, (Reason, ServiceHead)> {
    let chosen = unguarded(ctx, service)?;
    if !GUARD || !chosen.guarded {
        return Ok(chosen);
    }
    if let Some(flags) = guard::enter_at_once(service, chosen.index) {
        return Ok(Chosen { flags: chosen.flags.and(flags), ..chosen });
    }
    // The socket may hold a place for a connect that failed before its SYN.
    release::forget(ctx.owner(), ctx.cookie());
    let Some(head) = ctx::copy(maps::services.get_ptr(service.index)) else {
        return Err((Reason::DANGLING, ServiceHead::default()));
    };
    let client = Client { hashed: client(ctx, &head), known: owner(ctx, &head) };
    let (index, flags) = match parts::guarded(service, client) {
        Ok(found) => found,
        Err(reason) => return Err((reason, head)),
    };
    match ctx::backend(index) {
        Some(backend) => {
            let chosen = Chosen::new(index, backend, &head);
            Ok(Chosen { flags: chosen.flags.and(flags), ..chosen })
        }
        None => Err((Reason::DANGLING, head)),
    }
}

/// Chooses a backend without asking limits and breakers.
#[inline(always)]
fn unguarded<const V6: bool>(
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
        if head.affinity_ms != 0
            && let Some((index, backend)) = returning(owner(ctx, &head), service, &head)
        {
            return Ok(Chosen::new(index, backend, &head));
        }
        let hashed_by = client(ctx, &head);
        let Some(index) = by_algorithm(hashed_by, service, &head) else {
            continue;
        };
        let Some(backend) = backend(index, service) else {
            continue;
        };
        if head.affinity_ms != 0 {
            let (index, backend) = remember(owner(ctx, &head), service, &head, index, backend);
            return Ok(Chosen::new(index, backend, &head));
        }
        return Ok(Chosen::new(index, backend, &head));
    }
    Err((Reason::TORN, last))
}

/// Who asks for a backend.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    /// As Maglev takes it.
    pub(crate) hashed: u64,
    /// As session affinity does.
    pub(crate) known: u64,
}

/// What asking one backend came to.
pub(crate) enum Asked {
    /// There is none, or it is not the service's: a torn read.
    Torn,
    /// It may not have another connection.
    Busy,
    /// A place is taken.
    Entered(BackendIndex, ConnFlags),
}

/// Chooses a backend of a service that has limits, breakers or ejections, where one of them stood in
/// the way of the first choice: asks one after the other until one may have another connection.
#[inline(always)]
pub(crate) fn guarded(
    service: ServiceIndex,
    client: Client,
) -> Result<(BackendIndex, ConnFlags), Reason> {
    let entered = parts::enter_service(service)?;
    let start = ctx::random();
    let mut seen = false;
    for pick in 0..MAX_PICKS {
        match parts::ask(service, client, start, pick) {
            Asked::Torn => {}
            Asked::Busy => seen = true,
            Asked::Entered(index, flags) => return Ok((index, entered.and(flags))),
        }
    }
    parts::leave_service(service, entered);
    Err(if seen { Reason::BACKENDS_BUSY } else { Reason::TORN })
}

/// Asks the backend whose turn it is: of a client that is known, first the one that it had; some as
/// the service's algorithm says; then those of one place after the other.
#[inline(always)]
pub(crate) fn ask(service: ServiceIndex, client: Client, start: u32, pick: u32) -> Asked {
    let Some(head) = ctx::copy(maps::services.get_ptr(service.index)) else { return Asked::Torn };
    let known = head.affinity_ms != 0;
    let nth = u64::from(pick).wrapping_sub(known.into());
    let found = if known && pick == 0 {
        returning(client.known, service, &head).map(|(index, _)| index)
    } else if head.algorithm == Algorithm::MAGLEV {
        at(service, turn(&head, mix(client.hashed).wrapping_add(nth)))
    } else if nth < DRAWS {
        by_algorithm(client.hashed, service, &head)
    } else {
        at(service, turn(&head, u64::from(start) + nth))
    };
    let Some(index) = found else { return Asked::Torn };
    let Some(backend) = backend(index, service) else { return Asked::Torn };
    match guard::enter_backend(service, index, backend.generation) {
        None => Asked::Busy,
        Some(flags) => {
            if known {
                keep(client.known, service, index, backend.generation);
            }
            Asked::Entered(index, flags)
        }
    }
}

/// The backend, if it is the service's.
#[inline(always)]
fn backend(index: BackendIndex, service: ServiceIndex) -> Option<&'static Backend> {
    ctx::backend(index).filter(|backend| belongs(backend, service))
}

#[inline(always)]
fn by_algorithm(client: u64, service: ServiceIndex, head: &ServiceHead) -> Option<BackendIndex> {
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
        Algorithm::MAGLEV => at(service, hashed(head, client)),
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

/// Whose hash Maglev takes; of no meaning for others.
#[inline(always)]
fn client<const V6: bool>(ctx: &SockAddr<V6>, head: &ServiceHead) -> u64 {
    if head.algorithm != Algorithm::MAGLEV {
        0
    } else if head.flags.contains(ServiceFlags::KEY_CONNECTION) {
        ctx.cookie()
    } else {
        owner(ctx, head)
    }
}

/// Who connects, as far as choosing a backend goes. The source address is not known before the
/// route is, and that depends on the backend; what owns addresses is the network namespace.
#[inline(always)]
fn owner<const V6: bool>(ctx: &SockAddr<V6>, head: &ServiceHead) -> u64 {
    if head.flags.contains(ServiceFlags::KEY_WORKLOAD) {
        ctx::current_cgroup()
    } else {
        ctx.netns_cookie()
    }
}

/// The backend that the client had last, if it still may.
#[inline(always)]
fn returning(
    client: u64,
    service: ServiceIndex,
    head: &ServiceHead,
) -> Option<(BackendIndex, &'static Backend)> {
    let key = AffinityKey { client, service, pad: 0 };
    let entry = ctx::shared(maps::affinity.get_ptr_mut(key))?;
    let affinity = ctx::load(entry);
    let backend = ctx::backend(affinity.backend)?;
    let now = ctx::now_ns();
    if !sticks(&affinity, backend, service, head.affinity_ms, now) {
        return None;
    }
    ctx::store(&mut entry.used_ns, now);
    Some((affinity.backend, backend))
}

/// Remembers the client's backend. Where another connection of the same client was first, both
/// go to its backend.
#[inline(always)]
fn remember(
    client: u64,
    service: ServiceIndex,
    head: &ServiceHead,
    index: BackendIndex,
    backend: &'static Backend,
) -> (BackendIndex, &'static Backend) {
    let key = AffinityKey { client, service, pad: 0 };
    let value = Affinity { backend: index, generation: backend.generation, used_ns: ctx::now_ns() };
    if maps::affinity.insert(key, value, NOEXIST).is_ok() {
        return (index, backend);
    }
    if let Some(other) = returning(client, service, head) {
        return other;
    }
    keep(client, service, index, backend.generation);
    (index, backend)
}

/// Remembers the client's backend in the place of any other.
#[inline(always)]
fn keep(client: u64, service: ServiceIndex, backend: BackendIndex, generation: u32) {
    let key = AffinityKey { client, service, pad: 0 };
    let value = Affinity { backend, generation, used_ns: ctx::now_ns() };
    if maps::affinity.insert(key, value, 0).is_err() {
        telemetry::trouble(Reason::AFFINITY_FULL);
    }
}
