//! At `connect()`: takes a place for a connection, if it may have one.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::ConnFlags;
use mesh_common::event::EventKind;
use mesh_common::guard::BackendGuard;
use mesh_common::logic::breaker::{self, Outcome, Ticket};
use mesh_common::logic::{load, outlier};
use mesh_common::policy::{Policy, Thresholds};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use super::{Tries, Whose, backend_guard, changed, now_ms, policy, report, service_guard, settle};
use crate::ctx;

/// Takes a place among the service's and the backend's connections if nothing stands in the way,
/// which is what most connections meet: no other CPU, no limit, no breaker, no ejection. `None`
/// says only that this has to be asked one by one.
#[inline(always)]
pub(crate) fn enter_at_once(service: ServiceIndex, backend: BackendIndex) -> Option<ConnFlags> {
    let policy = policy(service)?;
    let (whole, one) = (service_guard(service)?, backend_guard(backend)?);
    let (breaker, own) = (ctx::load(&whole.breaker), ctx::load(&one.breaker));
    let closed = breaker::phase(breaker | own) == breaker::Phase::CLOSED;
    if !closed || outlier::is_ejected(ctx::load(&one.outlier)) {
        return None;
    }
    if !reserve_at_once(&mut whole.load, &policy.service) {
        return None;
    }
    if !reserve_at_once(&mut one.load, &policy.backend) {
        ctx::subtract(&mut whole.load, load::PENDING);
        return None;
    }
    let (service, own) = (breaker::free(breaker), breaker::free(own));
    Some(ConnFlags::GUARDED.with_service_ticket(service).with_ticket(own))
}

#[inline(always)]
fn reserve_at_once(word: &mut u64, limits: &Thresholds) -> bool {
    let limits = Thresholds {
        max_connections: ctx::load(&limits.max_connections),
        max_pending: ctx::load(&limits.max_pending),
        ..Thresholds::default()
    };
    let before = ctx::load(word);
    load::reserve(before, &limits).is_ok_and(|after| ctx::claim(word, before, after))
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
) -> Option<ConnFlags> {
    let (policy, guard) = (policy(service)?, backend_guard(backend)?);
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
    if limits.max_failures == 0 || breaker::phase(before) == breaker::Phase::CLOSED {
        return Ok(breaker::free(before));
    }
    let now = now_ms();
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        match breaker::admit(before, limits, now) {
            breaker::Admission::Free => return Ok(breaker::free(before)),
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
