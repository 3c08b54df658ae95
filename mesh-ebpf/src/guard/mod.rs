//! Limits, breakers and ejections at `connect()`, and what the end of a connection tells them. All
//! decisions are `mesh_common::logic`'s; here they are made to last by compare-and-exchange.

mod end;
mod enter;

use mesh_common::backend::BackendIndex;
use mesh_common::event::EventKind;
use mesh_common::guard::{BackendGuard, ServiceGuard, Transition};
use mesh_common::logic::breaker::{self, Outcome, Ticket};
use mesh_common::policy::{Policy, Thresholds};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

pub(crate) use self::end::{Ended, closed, opened, tell};
pub(crate) use self::enter::{enter_at_once, enter_backend, enter_service, leave_service};
use crate::{ctx, maps, telemetry};

/// How often a word that other CPUs change is tried again.
const MAX_TRIES: u64 = 16;

/// Nanoseconds of a millisecond.
pub(crate) const NS_PER_MS: u64 = 1_000_000;

/// Counts tries where the compiler does not see it: it would write the loop out that many times.
#[derive(Default)]
struct Tries {
    begun: u64,
}

impl Tries {
    #[inline(always)]
    fn again(&mut self) -> bool {
        let begun = ctx::load(&self.begun);
        ctx::store(&mut self.begun, begun + 1);
        begun < MAX_TRIES
    }
}

/// Whose guard a transition is about.
#[derive(Clone, Copy)]
struct Whose {
    service: ServiceIndex,
    backend: BackendIndex,
    generation: u32,
}

#[inline(always)]
pub(crate) fn policy(service: ServiceIndex) -> Option<&'static mut Policy> {
    ctx::shared(maps::policies.get_ptr_mut(service.index))
}

#[inline(always)]
fn service_guard(service: ServiceIndex) -> Option<&'static mut ServiceGuard> {
    ctx::shared(maps::service_guards.get_ptr_mut(service.index))
}

#[inline(always)]
fn backend_guard(backend: BackendIndex) -> Option<&'static mut BackendGuard> {
    ctx::shared(maps::backend_guards.get_ptr_mut(backend.index))
}

/// Tells a breaker how a connection ended.
#[inline(always)]
fn settle(word: &mut u64, limits: &Thresholds, ticket: Ticket, outcome: Outcome, whose: Whose) {
    // Most connections succeed while the breaker is closed: nothing changes.
    if !ticket.trial && outcome != Outcome::Bad {
        return;
    }
    let now = now_ms();
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        let after = breaker::settle(before, limits, ticket, outcome, now);
        if before == after {
            return;
        }
        if ctx::claim(word, before, after) {
            changed(whose, before, after);
            return;
        }
    }
    // Without a line in the log: below `mesh_tell` there is no stack left for one.
    telemetry::count(Reason::CONTENDED);
}

/// Says that a breaker went from one phase to another.
#[inline(always)]
fn changed(whose: Whose, before: u64, after: u64) {
    if breaker::phase(before) != breaker::phase(after)
        || breaker::round(before) != breaker::round(after)
    {
        report(EventKind::BREAKER, whose, before, after);
    }
}

#[inline(always)]
fn report(kind: EventKind, whose: Whose, before: u64, after: u64) {
    let Whose { service, backend, generation } = whose;
    let time_ns = ctx::now_ns();
    let transition = Transition { kind, service, backend, generation, time_ns, before, after };
    if !ctx::tell(&transition) {
        telemetry::count(Reason::EVENT_LOST);
    }
}

#[inline(always)]
fn now_ms() -> u64 {
    ctx::now_ns() / NS_PER_MS
}
