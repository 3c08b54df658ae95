//! Counters and events: every exit of a program is counted here.

use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::event::Event;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;
use mesh_common::tunables::TunableFlags;

use crate::{ctx, maps};

#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(entry) = ctx::shared(maps::reasons.get_ptr_mut(reason.code)) {
        ctx::add(&mut entry.count, 1);
    }
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

/// Counts a chosen backend; a datagram flow is open from then on.
#[inline(always)]
pub(crate) fn chosen(index: BackendIndex, counted: bool, datagram: bool) {
    if let Some(counters) = backend(index) {
        ctx::add(&mut counters.attempts, 1);
        if datagram {
            ctx::add(&mut counters.opened, 1);
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

#[inline(always)]
pub(crate) fn report(event: &Event) {
    if !ctx::send(event) {
        count(Reason::EVENT_LOST);
    }
}
