//! Counters and events: every exit of a program is counted here.

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::counter::{BackendCounters, ServiceCounters};
use mesh_common::event::Event;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::{ctx, maps};

#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(entry) = ctx::per_cpu(maps::reasons.get_ptr_mut(reason.code)) {
        ctx::add(&mut entry.count, 1);
    }
}

#[inline(always)]
pub(crate) fn backend(index: BackendIndex) -> Option<&'static mut BackendCounters> {
    ctx::per_cpu(maps::backend_counters.get_ptr_mut(index.index))
}

#[inline(always)]
pub(crate) fn service(index: ServiceIndex) -> Option<&'static mut ServiceCounters> {
    ctx::per_cpu(maps::service_counters.get_ptr_mut(index.index))
}

/// The backend as it is in the maps now.
#[inline(always)]
pub(crate) fn current(index: BackendIndex) -> Option<Backend> {
    ctx::copy(maps::backends.get_ptr(index.index))
}

#[inline(always)]
pub(crate) fn report(event: &Event) {
    if !ctx::send(event) {
        count(Reason::EVENT_LOST);
    }
}
