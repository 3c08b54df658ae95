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
use crate::select::{Chosen, is_enrolled, select};
use crate::{maps, records, release, telemetry};

/// How often a thread waits for another one that changes the flows of the same socket.
const MAX_SPINS: u32 = 64;

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the key would be copied on the stack once more"
)]
pub(crate) fn sendmsg<const V6: bool>(ctx: &SockAddr<V6>) -> i32 {
    if ctx.protocol() != u32::from(UDP) {
        return leave(Reason::OTHER_PROTOCOL);
    }
    let key = ctx.frontend_key(UDP);
    let Some(frontend) = ctx::copy(maps::frontends.get_ptr(&key)) else {
        if let Some(flows) = ctx.owner().flows(false) {
            direct(flows, &key);
        }
        return leave(Reason::NOT_A_SERVICE);
    };
    if !is_enrolled(ctx, frontend.service) {
        return leave(Reason::NOT_ENROLLED);
    }
    let flows = ctx.owner().flows(true);
    let flows = match flows {
        Some(flows) => match ongoing(flows, &key, frontend.service) {
            Some(backend) => {
                ctx.set_peer(&backend.addr, backend.port);
                return ALLOW;
            }
            None => Some(flows),
        },
        None => None,
    };
    let chosen = match select(ctx, frontend.service) {
        Ok(chosen) => chosen,
        Err((reason, head)) => return without(frontend.service, reason, &head),
    };
    match flows {
        Some(flows) => begin(flows, &key, &chosen),
        None => telemetry::count(Reason::NO_RECORD),
    }
    ctx.set_peer(&chosen.backend.addr, chosen.backend.port);
    ALLOW
}

/// The backend of the flow to this service, unless it is gone. Its address comes from the map,
/// so that a flow which another thread is changing cannot lead to a mixture of two backends.
#[inline(always)]
fn ongoing(flows: &mut Flows, key: &FrontendKey, service: ServiceIndex) -> Option<Backend> {
    let at = to_frontend(flows, &key.addr, key.port)?;
    let flow = flows.flows.get_mut(at)?;
    let (index, generation) = (ctx::load(&flow.backend), ctx::load(&flow.generation));
    let backend = ctx::copy(maps::backends.get_ptr(index.index))?;
    let good =
        belongs(&backend, service) && backend.generation == generation && backend.flags.keeps_old();
    if good && ctx::load(&flow.used) != ctx::load(&flows.clock) {
        let used = ctx::load(&flows.clock).wrapping_add(1);
        ctx::store(&mut flow.used, used);
        ctx::store(&mut flows.clock, used);
    }
    good.then_some(backend)
}

/// Remembers that the socket talks to a backend of one of its flows directly as well, so that
/// the reply is shown as it is: a flow to itself, of no service.
#[inline(always)]
fn direct(flows: &mut Flows, key: &FrontendKey) {
    let Some(at) = from_backend(flows, &key.addr, key.port) else { return };
    let itself = flows
        .flows
        .get(at)
        .is_some_and(|flow| flow.frontend_port == key.port && flow.frontend_addr.is(&key.addr));
    if itself {
        return;
    }
    let backend = Backend { addr: key.addr, port: key.port, ..Backend::default() };
    remember(flows, key, BackendIndex::NONE, &backend, false);
}

/// Remembers a new flow in the place of the one that it replaces.
#[inline(always)]
fn begin(flows: &mut Flows, key: &FrontendKey, chosen: &Chosen) {
    let Chosen { index, backend, counted } = chosen;
    if remember(flows, key, *index, backend, *counted) {
        telemetry::chosen(*index, *counted, true);
    }
}

#[inline(always)]
fn remember(
    flows: &mut Flows,
    key: &FrontendKey,
    index: BackendIndex,
    backend: &Backend,
    counted: bool,
) -> bool {
    if !lock(flows) {
        telemetry::count(Reason::FLOW_BUSY);
        return false;
    }
    let same = to_frontend(flows, &key.addr, key.port);
    let at = same.unwrap_or_else(|| oldest(flows));
    let used = flows.clock.wrapping_add(1);
    if let Some(flow) = flows.flows.get_mut(at) {
        if flow.frontend_port != 0 {
            if same.is_none() {
                telemetry::count(Reason::FLOW_REPLACED);
            }
            release::flow(flow);
        }
        replace(flow, key, index, backend, counted, used);
    }
    flows.clock = used;
    ctx::store(&mut flows.lock, 0);
    true
}

#[inline(always)]
fn replace(
    flow: &mut Flow,
    key: &FrontendKey,
    index: BackendIndex,
    backend: &Backend,
    counted: bool,
    used: u32,
) {
    // No reader takes a flow without a port for one.
    ctx::store(&mut flow.frontend_port, 0);
    flow.frontend_addr = key.addr;
    flow.backend_addr = backend.addr;
    flow.backend_port = backend.port;
    flow.service = backend.service;
    flow.backend = index;
    flow.generation = backend.generation;
    flow.used = used;
    flow.flags = if counted { ConnFlags::ACTIVE } else { ConnFlags::default() };
    ctx::store(&mut flow.frontend_port, key.port);
}

#[inline(always)]
fn lock(flows: &mut Flows) -> bool {
    for _ in 0..MAX_SPINS {
        if ctx::try_lock(&mut flows.lock) {
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
