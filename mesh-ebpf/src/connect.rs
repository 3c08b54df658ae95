//! `connect()`: looks the destination up, asks mesh-common for a backend, and rewrites the
//! address. What is no service leaves after one lookup.

use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::conn::{ConnRecord, Stage};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::connect::{MAX_TRIES, belongs, choose, place, without_backend};
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceHead, ServiceIndex};

use crate::ctx::{self, SockAddr, TCP};
use crate::{maps, telemetry};

/// Verdict of a cgroup hook that lets the call go on.
pub(crate) const ALLOW: i32 = 1;
/// Verdict of a cgroup hook that makes the call fail.
const REFUSE: i32 = 0;

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the key would be copied on the stack once more"
)]
pub(crate) fn connect4(ctx: &SockAddr) -> i32 {
    if ctx.protocol() != u32::from(TCP) {
        return leave(Reason::NOT_TCP);
    }
    let key = ctx.frontend_key();
    // The value is copied: an entry that is deleted meanwhile may be reused.
    let Some(frontend) = ctx::copy(maps::frontends.get_ptr(&key)) else {
        return leave(Reason::NOT_A_SERVICE);
    };
    match select(frontend.service) {
        Ok((index, backend)) => redirect(ctx, &key, index, &backend),
        Err((reason, head)) => without(frontend.service, reason, &head),
    }
}

/// Chooses a backend, reading again what the agent was rewriting.
#[inline(always)]
fn select(service: ServiceIndex) -> Result<(BackendIndex, Backend), (Reason, ServiceHead)> {
    let mut last = ServiceHead::default();
    for _ in 0..MAX_TRIES {
        let Some(head) = ctx::copy(maps::services.get_ptr(service.index)) else {
            return Err((Reason::DANGLING, last));
        };
        last = head;
        let Some(place) = place(&head, ctx::random()) else {
            return Err((without_backend(&head), head));
        };
        let Some(slot) = ctx::copy(maps::slots.get_ptr(place.slot)) else {
            continue;
        };
        let Some(index) = choose(&slot, service, place.fraction) else {
            continue;
        };
        let Some(backend) = ctx::copy(maps::backends.get_ptr(index.index)) else {
            continue;
        };
        if belongs(&backend, service) {
            return Ok((index, backend));
        }
    }
    Err((Reason::TORN, last))
}

#[inline(always)]
fn redirect(ctx: &SockAddr, key: &FrontendKey, index: BackendIndex, backend: &Backend) -> i32 {
    let record = ConnRecord {
        frontend_addr: key.addr,
        backend_addr: backend.addr,
        frontend_port: key.port,
        backend_port: backend.port,
        service: backend.service,
        backend: index,
        generation: backend.generation,
        stage: Stage::CHOSEN,
        received_mark: 0,
        started_ns: 0,
    };
    if !ctx.set_record(&record) {
        telemetry::count(Reason::NO_RECORD);
    }
    ctx.set_peer4(&backend.addr, backend.port);
    if let Some(counters) = telemetry::backend(index) {
        ctx::add(&mut counters.attempts, 1);
    }
    // Not counted as a reason: the attempts of all backends add up to it.
    ALLOW
}

#[inline(always)]
fn without(service: ServiceIndex, reason: Reason, head: &ServiceHead) -> i32 {
    if let Some(counters) = telemetry::service(service) {
        let counter =
            if reason.lets_through() { &mut counters.passed } else { &mut counters.refused };
        ctx::add(counter, 1);
    }
    if !reason.lets_through() {
        ctx::set_errno(head.refusal());
    }
    leave(reason)
}

#[inline(always)]
fn leave(reason: Reason) -> i32 {
    telemetry::count(reason);
    if reason.lets_through() { ALLOW } else { REFUSE }
}
