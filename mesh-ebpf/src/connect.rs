//! `connect()`: looks the destination up, has a backend chosen, and rewrites the address. What is
//! no service leaves after one lookup.

use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::frontend::FrontendKey;
use mesh_common::logic::breaker::Outcome;
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceFlags, ServiceHead, ServiceIndex};

use crate::ctx::{self, SockAddr, TCP, UDP};
use crate::select::{Chosen, left_alone, select};
use crate::{guard, log, maps, parts, records, release, telemetry, timeouts};

/// Verdict of a cgroup hook that lets the call go on.
pub(crate) const ALLOW: i32 = 1;
/// Verdict of a cgroup hook that makes the call fail.
const REFUSE: i32 = 0;

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the key would be copied on the stack once more"
)]
pub(crate) fn connect<const V6: bool>(ctx: &SockAddr<V6>) -> i32 {
    let proto = match ctx.protocol() {
        6 => TCP,
        17 => UDP,
        _ => return leave(Reason::OTHER_PROTOCOL),
    };
    let key = ctx.frontend_key(proto);
    // The value is copied: an entry that is deleted meanwhile may be reused.
    let verdict = match ctx::copy(maps::frontends.get_ptr(&key)) {
        None => leave(Reason::NOT_A_SERVICE),
        Some(frontend) => match left_alone(ctx, frontend.service) {
            Some(reason) => leave(reason),
            None => match select::<V6, true>(ctx, frontend.service) {
                Ok(chosen) => return redirect(ctx, &key, &chosen),
                Err((reason, head)) => {
                    if !reason.lets_through() {
                        telemetry::refused(&key, frontend.service, reason);
                    }
                    without(frontend.service, reason, &head)
                }
            },
        },
    };
    if proto == UDP {
        // A datagram socket that connects elsewhere leaves the service that it was connected to.
        release::forget(ctx.owner(), ctx.cookie());
    }
    verdict
}

#[inline(always)]
fn redirect<const V6: bool>(ctx: &SockAddr<V6>, key: &FrontendKey, chosen: &Chosen) -> i32 {
    let Chosen { index, backend, flags, timed, .. } = chosen;
    let addr = ctx::address(&backend.addr);
    let counted = flags.contains(ConnFlags::ACTIVE);
    let cookie = ctx.cookie();
    if let Some((stored, again)) = records::claim(ctx.owner(), cookie) {
        if again {
            release::unfinished(stored, cookie);
        }
        let datagram = key.proto == UDP;
        let (flags, received_mark) =
            if *timed { tell(ctx, backend.service, *flags) } else { (*flags, 0) };
        let record = ConnRecord {
            frontend_addr: key.addr,
            backend_addr: addr,
            frontend_port: key.port,
            backend_port: backend.port,
            service: backend.service,
            backend: *index,
            generation: backend.generation,
            stage: if datagram { Stage::DATAGRAM } else { Stage::CHOSEN },
            flags,
            received_mark,
            started_ns: if datagram { ctx::now_ns() } else { 0 },
        };
        ctx::store_record(stored, &record);
        // Asked for once more: a TCP connection does not have to keep the cookie until here.
        telemetry::chosen(*index, counted, datagram, || parts::connected(ctx.cookie()));
        log::chosen(&record);
    } else {
        telemetry::trouble(Reason::NO_RECORD);
        let (service, backend, generation) = (backend.service, *index, backend.generation);
        let unknown =
            ConnRecord { service, backend, generation, flags: *flags, ..ConnRecord::default() };
        parts::failed(&unknown, Outcome::Unknown);
    }
    ctx.set_peer(&addr, backend.port);
    // Not counted as a reason: the attempts of all backends add up to it.
    ALLOW
}

/// Tells the socket the service's timeouts.
#[inline(always)]
fn tell<const V6: bool>(
    ctx: &SockAddr<V6>,
    service: ServiceIndex,
    flags: ConnFlags,
) -> (ConnFlags, u32) {
    match guard::policy(service) {
        Some(policy) => {
            (flags.and(ConnFlags::TIMED), timeouts::begin(ctx, &ctx::load(&policy.timeouts)))
        }
        None => (flags, 0),
    }
}

/// Ends a call to a service that has no backend for it.
#[inline(always)]
pub(crate) fn without(service: ServiceIndex, reason: Reason, head: &ServiceHead) -> i32 {
    log::without(service, reason);
    if let Some(counters) = telemetry::service(service) {
        let counter =
            if reason.lets_through() { &mut counters.passed } else { &mut counters.refused };
        ctx::add(counter, 1);
    }
    if !reason.lets_through() {
        if !head.flags.contains(ServiceFlags::CANARY) {
            parts::refused(service, reason);
        }
        ctx::set_errno(head.refusal());
    }
    leave(reason)
}

/// Ends a call that is not redirected.
#[inline(always)]
pub(crate) fn leave(reason: Reason) -> i32 {
    telemetry::count(reason);
    log::left(reason);
    if reason.lets_through() { ALLOW } else { REFUSE }
}
