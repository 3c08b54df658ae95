//! Datagrams of unconnected sockets: `sendmsg()` sends each to the backend that the socket uses
//! for that service, `recvmsg()` shows replies as coming from the service.

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::conn::ConnFlags;
use mesh_common::flow::{Flow, Flows};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::connect::belongs;
use mesh_common::logic::flows::{from_backend, oldest, to_frontend};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::connect::{ALLOW, leave, without};
use crate::ctx::{self, SockAddr, UDP};
use crate::select::{Chosen, left_alone, select};
use crate::{maps, parts, records, release, telemetry};

/// How often a thread waits for another one that changes the flows of the same socket.
const MAX_SPINS: u32 = 16;

/// A flow to be remembered.
struct New {
    index: BackendIndex,
    backend: Backend,
    counted: bool,
}

#[inline(always)]
pub(crate) fn sendmsg<const V6: bool>(ctx: &SockAddr<V6>) -> i32 {
    if ctx.protocol() != u32::from(UDP) {
        return leave(Reason::OTHER_PROTOCOL);
    }
    let key = ctx.frontend_key(UDP);
    let service = service_of(&key);
    if let Some(service) = service
        && let Some(reason) = left_alone(ctx, service)
    {
        return leave(reason);
    }
    // Only a datagram to a service is worth storage.
    let mut flows = ctx.owner().flows(service.is_some());
    let new = match (service, &flows) {
        (None, Some(flows)) if is_direct(flows, &key) => {
            let backend = Backend { addr: key.addr, port: key.port, ..Backend::default() };
            New { index: BackendIndex::NONE, backend, counted: false }
        }
        (None, _) => return leave(Reason::NOT_A_SERVICE),
        (Some(service), _) => {
            if let Some(flows) = flows.as_mut()
                && let Some(backend) = ongoing(flows, &key, service)
            {
                ctx.set_peer(&ctx::address(&backend.addr), backend.port);
                return ALLOW;
            }
            match select::<V6, false>(ctx, service) {
                Ok(Chosen { index, backend, flags, .. }) => {
                    let addr = ctx::address(&backend.addr);
                    let Backend { port, generation, .. } = *backend;
                    let backend = Backend { addr, port, generation, ..Backend::default() };
                    New { index, backend, counted: flags.contains(ConnFlags::ACTIVE) }
                }
                Err((reason, head)) => return without(service, reason, &head),
            }
        }
    };
    match flows {
        Some(flows) => begin(flows, &key, &new),
        None => telemetry::count(Reason::NO_RECORD),
    }
    ctx.set_peer(&new.backend.addr, new.backend.port);
    if service.is_none() {
        telemetry::count(Reason::NOT_A_SERVICE);
    }
    ALLOW
}

#[inline(always)]
fn service_of(key: &FrontendKey) -> Option<ServiceIndex> {
    Some(ctx::copy(maps::frontends.get_ptr(key))?.service)
}

/// The backend of the flow to this service, unless it is gone. Its address comes from the map,
/// so that a flow which another thread is changing cannot lead to a mixture of two backends.
#[inline(always)]
fn ongoing(
    flows: &mut Flows,
    key: &FrontendKey,
    service: ServiceIndex,
) -> Option<&'static Backend> {
    let at = to_frontend(flows, &key.addr, key.port)?;
    let flow = flows.flows.get_mut(at)?;
    let (index, generation) = (ctx::load(&flow.backend), ctx::load(&flow.generation));
    let backend = ctx::backend(index)?;
    let good =
        belongs(backend, service) && backend.generation == generation && backend.flags.keeps_old();
    if good && ctx::load(&flow.used) != ctx::load(&flows.clock) {
        let used = ctx::load(&flows.clock).wrapping_add(1);
        ctx::store(&mut flow.used, used);
        ctx::store(&mut flows.clock, used);
    }
    good.then_some(backend)
}

/// Whether the socket talks to a backend of one of its flows directly, and the last that went
/// there was for a service: then the reply has to be shown as it is, which takes a flow to
/// itself, of no service.
#[inline(always)]
fn is_direct(flows: &Flows, key: &FrontendKey) -> bool {
    from_backend(flows, &key.addr, key.port)
        .and_then(|at| flows.flows.get(at))
        .is_some_and(|flow| flow.frontend_port != key.port || !flow.frontend_addr.is(&key.addr))
}

/// Remembers a new flow in the place of the one that it replaces.
#[inline(always)]
fn begin(flows: &mut Flows, key: &FrontendKey, new: &New) {
    if !lock(flows) {
        telemetry::count(Reason::FLOW_BUSY);
        return;
    }
    let same = to_frontend(flows, &key.addr, key.port);
    let at = same.unwrap_or_else(|| oldest(flows));
    let used = flows.clock.wrapping_add(1);
    let cgroup = parts::running();
    if let Some(flow) = flows.flows.get_mut(at) {
        if flow.frontend_port != 0 {
            if same.is_none() {
                telemetry::count(Reason::FLOW_REPLACED);
            }
            release::flow(flow);
        }
        replace(flow, key, new, used, cgroup);
    }
    flows.clock = used;
    ctx::store(&mut flows.lock, 0);
    if new.index != BackendIndex::NONE {
        let generation = new.backend.generation;
        telemetry::chosen(new.index, new.counted, true, || {
            parts::count_flow(cgroup, new.index, generation, false);
        });
    }
}

#[inline(always)]
fn replace(flow: &mut Flow, key: &FrontendKey, new: &New, used: u32, cgroup: u64) {
    let New { index, backend, counted } = new;
    // No reader takes a flow without a port for one.
    ctx::store(&mut flow.frontend_port, 0);
    flow.frontend_addr = key.addr;
    flow.backend_addr = backend.addr;
    flow.backend_port = backend.port;
    flow.set_cgroup(cgroup);
    flow.backend = *index;
    flow.generation = backend.generation;
    flow.used = used;
    let flags = if *counted { ConnFlags::ACTIVE } else { ConnFlags::default() };
    // Nobody's is counted for nobody; without the flag, what is noted is not a cgroup's.
    flow.flags = flags.and(ConnFlags::BY_CLIENT);
    ctx::store(&mut flow.frontend_port, key.port);
}

#[inline(always)]
fn lock(flows: &mut Flows) -> bool {
    for _ in 0..MAX_SPINS {
        if ctx::exchange(&mut flows.lock, 0, 1) {
            return true;
        }
    }
    false
}

#[inline(always)]
pub(crate) fn recvmsg<const V6: bool>(ctx: &SockAddr<V6>) {
    let (addr, port) = (ctx.addr(), ctx.port());
    let owner = ctx.owner();
    if let Some(flows) = owner.flows(false)
        && let Some(at) = from_backend(flows, &addr, port)
        && let Some(flow) = flows.flows.get(at)
    {
        ctx.set_peer(&flow.frontend_addr, flow.frontend_port);
        return;
    }
    if let Some(record) = records::find(owner, ctx.cookie())
        && record.describes(&addr, port)
    {
        ctx.set_peer(&record.frontend_addr, record.frontend_port);
    }
}
