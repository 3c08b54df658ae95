//! How connections end: gives their places back, and tells breakers and outlier detection.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::event::EventKind;
use mesh_common::logic::breaker::Outcome;
use mesh_common::logic::{load, outlier};
use mesh_common::policy::Policy;
use mesh_common::reason::Reason;
use mesh_common::service::ServiceIndex;

use super::{Tries, Whose, backend_guard, now_ms, report, service_guard, settle};
use crate::{ctx, parts, telemetry};

/// A connection of a guarded service is established. `held`: its backend's index has not been
/// given to another since.
#[inline(always)]
pub(crate) fn opened(record: &ConnRecord, held: bool) {
    if let Some(guard) = service_guard(record.service) {
        ctx::subtract(&mut guard.load, load::ESTABLISHED);
    }
    if held && let Some(guard) = backend_guard(record.backend) {
        ctx::subtract(&mut guard.load, load::ESTABLISHED);
        ctx::add(&mut guard.good, 1);
        succeeded(&mut guard.outlier);
    }
    if record.flags.is_trial() {
        parts::tried(record);
    }
}

/// An established connection of a guarded service has ended.
#[inline(always)]
pub(crate) fn closed(record: &ConnRecord, held: bool) {
    if let Some(guard) = service_guard(record.service) {
        ctx::subtract(&mut guard.load, load::OPEN);
    }
    if held && let Some(guard) = backend_guard(record.backend) {
        ctx::subtract(&mut guard.load, load::OPEN);
    }
}

/// A connection that was not established, or a trial that was.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) service: ServiceIndex,
    pub(crate) backend: BackendIndex,
    pub(crate) generation: u32,
    pub(crate) flags: ConnFlags,
    /// `CLOCK_MONOTONIC` milliseconds.
    pub(crate) began_ms: u64,
}

/// Tells the guards of a service and of a backend how a connection ended, and how much less load
/// there is.
#[inline(always)]
pub(crate) fn tell(ended: Ended, policy: &Policy, less: u64, outcome: Outcome) {
    let Ended { service, backend, generation, flags, began_ms } = ended;
    if let Some(guard) = service_guard(service) {
        ctx::subtract(&mut guard.load, less);
        let whose = Whose { service, backend: BackendIndex::NONE, generation: 0 };
        let limits = ctx::load(&policy.service);
        settle(&mut guard.breaker, &limits, flags.service_ticket(), outcome, whose);
    }
    let Some(guard) = backend_guard(backend).filter(|_| telemetry::holds(backend, generation))
    else {
        return;
    };
    ctx::subtract(&mut guard.load, less);
    let whose = Whose { service, backend, generation };
    let limits = ctx::load(&policy.backend);
    settle(&mut guard.breaker, &limits, flags.ticket(), outcome, whose);
    if outcome == Outcome::Bad {
        ctx::add(&mut guard.bad, 1);
        failed(&mut guard.outlier, policy, whose, began_ms);
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
fn failed(word: &mut u64, policy: &Policy, whose: Whose, began_ms: u64) {
    let policy = ctx::load(&policy.outlier);
    if policy.consecutive_failures == 0 {
        return;
    }
    let mut tries = Tries::default();
    while tries.again() {
        let before = ctx::load(word);
        let Some(after) = outlier::failed(before, began_ms) else { return };
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
    // Without a line in the log: below `mesh_tell` there is no stack left for one.
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
