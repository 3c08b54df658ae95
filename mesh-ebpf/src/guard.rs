//! Limits, breakers and ejections at `connect()`, and what the end of a connection tells them. All
//! decisions are `mesh_common::logic`'s; here they are made to last by compare-and-exchange.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::ConnFlags;
use mesh_common::event::EventKind;
use mesh_common::guard::{BackendGuard, ServiceGuard, Transition};
use mesh_common::logic::breaker::{self, Outcome, Ticket};
use mesh_common::logic::{load, outlier};
use mesh_common::policy::{Policy, Thresholds};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use crate::{ctx, maps, telemetry};

/// How often a word that other CPUs change is tried again.
const MAX_TRIES: u64 = 16;

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

/// Takes a place among the service's connections; the reason where there is none.
#[inline(always)]
pub(crate) fn enter_service(service: ServiceIndex, policy: &Policy) -> Result<ConnFlags, Reason> {
    let Some(guard) = service_guard(service) else { return Err(Reason::DANGLING) };
    let limits = ctx::load(&policy.service);
    let whose = Whose { service, backend: BackendIndex::NONE, generation: 0 };
    let ticket = match admit(&mut guard.breaker, &limits, whose) {
        Ok(ticket) => ticket,
        Err(reason) => {
            ctx::add(&mut guard.refused_open, 1);
            return Err(reason);
        }
    };
    if let Err(reason) = reserve(&mut guard.load, &limits) {
        give_back(&mut guard.breaker, &limits, ticket, whose);
        let counter = if reason == Reason::MAX_PENDING {
            &mut guard.refused_pending
        } else {
            &mut guard.refused_connections
        };
        ctx::add(counter, 1);
        return Err(reason);
    }
    Ok(ConnFlags::GUARDED.with_service_ticket(ticket))
}

/// Gives the place back where no backend was found.
#[inline(always)]
pub(crate) fn leave_service(service: ServiceIndex, policy: &Policy, entered: ConnFlags) {
    let Some(guard) = service_guard(service) else { return };
    ctx::subtract(&mut guard.load, load::PENDING);
    ctx::add(&mut guard.refused_backends, 1);
    let whose = Whose { service, backend: BackendIndex::NONE, generation: 0 };
    give_back(&mut guard.breaker, &ctx::load(&policy.service), entered.service_ticket(), whose);
}

/// Takes a place among the backend's connections, if it may have one more.
#[inline(always)]
pub(crate) fn enter_backend(
    service: ServiceIndex,
    backend: BackendIndex,
    generation: u32,
    policy: &Policy,
) -> Option<ConnFlags> {
    let guard = backend_guard(backend)?;
    let whose = Whose { service, backend, generation };
    let limits = ctx::load(&policy.backend);
    let entered = enter(guard, &limits, policy, whose);
    if entered.is_none() {
        ctx::add(&mut guard.skipped, 1);
    }
    entered
}

#[inline(always)]
fn enter(
    guard: &mut BackendGuard,
    limits: &Thresholds,
    policy: &Policy,
    whose: Whose,
) -> Option<ConnFlags> {
    let word = ctx::load(&guard.outlier);
    if outlier::is_ejected(word) && ctx::load(&policy.outlier.base_ms) != 0 {
        match outlier::admit(word, now_ms()) {
            outlier::Admission::Ejected => return None,
            outlier::Admission::Back(back) => {
                if ctx::claim(&mut guard.outlier, word, back) {
                    returned(whose, word, back);
                }
            }
            outlier::Admission::Free => {}
        }
    }
    let ticket = admit(&mut guard.breaker, limits, whose).ok()?;
    if reserve(&mut guard.load, limits).is_err() {
        give_back(&mut guard.breaker, limits, ticket, whose);
        return None;
    }
    Some(ConnFlags::GUARDED.with_ticket(ticket))
}

#[inline(always)]
fn returned(whose: Whose, before: u64, after: u64) {
    if let Some(guard) = service_guard(whose.service) {
        ctx::subtract(&mut guard.ejected, 1);
    }
    report(EventKind::OUTLIER, whose, before, after);
}

/// Asks a breaker.
#[inline(always)]
fn admit(word: &mut u64, limits: &Thresholds, whose: Whose) -> Result<Ticket, Reason> {
    let before = ctx::load(word);
    let free = Ticket { round: breaker::round(before), trial: false };
    if limits.max_failures == 0 || breaker::phase(before) == breaker::Phase::CLOSED {
        return Ok(free);
    }
    let now = now_ms();
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        match breaker::admit(before, limits, now) {
            breaker::Admission::Free => {
                return Ok(Ticket { round: breaker::round(before), trial: false });
            }
            breaker::Admission::Refused => return Err(Reason::BREAKER_OPEN),
            breaker::Admission::Trial(after) => {
                if ctx::claim(word, before, after) {
                    changed(whose, before, after);
                    return Ok(Ticket { round: breaker::round(after), trial: true });
                }
            }
        }
    }
    Err(Reason::CONTENDED)
}

#[inline(always)]
fn reserve(word: &mut u64, limits: &Thresholds) -> Result<(), Reason> {
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        match load::reserve(before, limits) {
            Err(load::Full::Connections) => return Err(Reason::MAX_CONNECTIONS),
            Err(load::Full::Pending) => return Err(Reason::MAX_PENDING),
            Ok(after) => {
                if ctx::claim(word, before, after) {
                    return Ok(());
                }
            }
        }
    }
    // Too many others: added first and looked at then, which never exceeds a limit either, but
    // two that meet at the limit may both be refused.
    let before = ctx::take(word, load::PENDING);
    let refused = match load::reserve(before, limits) {
        Ok(_) => return Ok(()),
        Err(load::Full::Connections) => Reason::MAX_CONNECTIONS,
        Err(load::Full::Pending) => Reason::MAX_PENDING,
    };
    ctx::subtract(word, load::PENDING);
    Err(refused)
}

/// A trial that was not begun after all.
#[inline(always)]
fn give_back(word: &mut u64, limits: &Thresholds, ticket: Ticket, whose: Whose) {
    if ticket.trial {
        settle(word, limits, ticket, Outcome::Unknown, whose);
    }
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
    telemetry::count(Reason::CONTENDED);
}

/// Tells the guards of a service and of a backend about a connection: how much less load there is,
/// and how it ended before it was established, if it did.
#[inline(always)]
pub(crate) fn tell(
    service: ServiceIndex,
    backend: BackendIndex,
    generation: u32,
    flags: ConnFlags,
    policy: &Policy,
    less: u64,
    outcome: Option<Outcome>,
) {
    if let Some(guard) = service_guard(service) {
        ctx::subtract(&mut guard.load, less);
        if let Some(outcome) = outcome {
            let whose = Whose { service, backend: BackendIndex::NONE, generation: 0 };
            let limits = ctx::load(&policy.service);
            settle(&mut guard.breaker, &limits, flags.service_ticket(), outcome, whose);
        }
    }
    let Some(guard) = backend_guard(backend).filter(|_| telemetry::holds(backend, generation))
    else {
        return;
    };
    ctx::subtract(&mut guard.load, less);
    let whose = Whose { service, backend, generation };
    if let Some(outcome) = outcome {
        let limits = ctx::load(&policy.backend);
        settle(&mut guard.breaker, &limits, flags.ticket(), outcome, whose);
    }
    match outcome {
        Some(Outcome::Good) => {
            ctx::add(&mut guard.good, 1);
            succeeded(&mut guard.outlier);
        }
        Some(Outcome::Bad) => {
            ctx::add(&mut guard.bad, 1);
            failed(&mut guard.outlier, policy, whose);
        }
        Some(Outcome::Unknown) | None => {}
    }
}

#[inline(always)]
fn succeeded(word: &mut u64) {
    let before = ctx::load(word);
    let after = outlier::succeeded(before);
    // Where another CPU is faster, its news is as good.
    if before != after {
        ctx::claim(word, before, after);
    }
}

#[inline(always)]
fn failed(word: &mut u64, policy: &Policy, whose: Whose) {
    let policy = ctx::load(&policy.outlier);
    if policy.consecutive_failures == 0 {
        return;
    }
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        let after = outlier::failed(before);
        if !outlier::is_due(after, &policy) || !may_eject(whose.service, policy.max_ejected) {
            if before == after || ctx::claim(word, before, after) {
                return;
            }
            continue;
        }
        let ejected = outlier::eject(after, &policy, now_ms());
        if ctx::claim(word, before, ejected) {
            report(EventKind::OUTLIER, whose, after, ejected);
            return;
        }
        if let Some(guard) = service_guard(whose.service) {
            ctx::subtract(&mut guard.ejected, 1);
        }
    }
    telemetry::count(Reason::CONTENDED);
}

/// Takes one of the places of ejected backends.
#[inline(always)]
fn may_eject(service: ServiceIndex, most: u32) -> bool {
    let Some(guard) = service_guard(service) else { return false };
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(&guard.ejected);
        if before >= u64::from(most) {
            return false;
        }
        if ctx::claim(&mut guard.ejected, before, before + 1) {
            return true;
        }
    }
    false
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
    ctx::now_ns() / 1_000_000
}
