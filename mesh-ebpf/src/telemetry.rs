//! Counters and events: every exit of a program is counted here.

use mesh_common::accel::Paths;
use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::event::{Event, EventKind};
use mesh_common::frontend::FrontendKey;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;
use mesh_common::tunables::TunableFlags;

use crate::{ctx, log, maps};

#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(entry) = ctx::shared(maps::reasons.get_ptr_mut(reason.code)) {
        ctx::add(&mut entry.count, 1);
    }
}

/// Counts what should not happen, or had no room.
#[inline(always)]
pub(crate) fn trouble(reason: Reason) {
    count(reason);
    log::trouble(reason);
}

/// The switches.
#[inline(always)]
pub(crate) fn flags() -> TunableFlags {
    match ctx::shared(maps::tunables.get_ptr_mut(0)) {
        Some(tunables) => ctx::load(&tunables.flags),
        None => TunableFlags::default(),
    }
}

#[inline(always)]
fn backend(index: BackendIndex) -> Option<&'static mut BackendCounters> {
    ctx::shared(maps::backend_counters.get_ptr_mut(index.index))
}

#[inline(always)]
pub(crate) fn service(index: ServiceIndex) -> Option<&'static mut ServiceCounters> {
    ctx::shared(maps::service_counters.get_ptr_mut(index.index))
}

/// Counts a chosen backend; a datagram flow is open from then on, and is to be counted by client.
#[inline(always)]
pub(crate) fn chosen(index: BackendIndex, counted: bool, datagram: bool, by_client: impl FnOnce()) {
    if let Some(counters) = backend(index) {
        ctx::add(&mut counters.attempts, 1);
        if datagram {
            ctx::add(&mut counters.opened, 1);
            by_client();
        }
    }
    if counted && let Some(state) = ctx::shared(maps::backend_state.get_ptr_mut(index.index)) {
        ctx::add(&mut state.active, 1);
    }
}

/// A connection that was added to the backend's active ones has ended.
#[inline(always)]
pub(crate) fn inactive(index: BackendIndex) {
    if let Some(state) = ctx::shared(maps::backend_state.get_ptr_mut(index.index)) {
        ctx::subtract(&mut state.active, 1);
    }
}

/// The backend's counters, unless its index has been given to another backend since.
#[inline(always)]
pub(crate) fn holder(index: BackendIndex, generation: u32) -> Option<&'static mut BackendCounters> {
    match ctx::shared(maps::backends.get_ptr_mut(index.index)) {
        Some(present) if ctx::load(&present.generation) == generation => backend(index),
        Some(_) | None => {
            count(Reason::STALE_BACKEND);
            None
        }
    }
}

/// Whether a backend's index has not been given to another since.
#[inline(always)]
pub(crate) fn holds(index: BackendIndex, generation: u32) -> bool {
    ctx::shared(maps::backends.get_ptr_mut(index.index))
        .is_some_and(|present| ctx::load(&present.generation) == generation)
}

/// Tells of a connection that a service has refused, where somebody wants to know.
#[inline(always)]
pub(crate) fn refused(key: &FrontendKey, service: ServiceIndex, reason: Reason) {
    if !flags().contains(TunableFlags::TAP) {
        return;
    }
    let sent = ctx::send_in_place(|| Event {
        kind: EventKind::REFUSED,
        service,
        backend: BackendIndex::NONE,
        generation: 0,
        time_ns: ctx::now_ns(),
        duration_ns: 0,
        bytes_sent: 0,
        bytes_received: 0,
        client_addr: IpKey::default(),
        frontend_addr: key.addr,
        backend_addr: IpKey::default(),
        client_port: 0,
        frontend_port: key.port,
        backend_port: 0,
        paths: Paths::default(),
        retransmits: 0,
        srtt_us: 0,
        cgroup: ctx::current_cgroup(),
        cause: reason.code,
        protocol: u32::from(key.proto),
    });
    if !sent {
        count(Reason::EVENT_LOST);
    }
}

#[inline(always)]
pub(crate) fn report(event: &Event) {
    if !ctx::send(event) {
        count(Reason::EVENT_LOST);
    }
}
