//! Connections by who makes them: what a backend's counters say, in parts. Whoever is counted here is
//! counted there first, so that the parts never come to more than the whole.

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::edge::{EdgeCounters, EdgeKey, FailureCause};
use mesh_common::flow::Flow;
use mesh_common::reason::Reason;
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockOps};
use crate::{maps, parts, records, telemetry};

/// `BPF_NOEXIST`.
pub(crate) const NEW: u64 = 1;
pub(crate) const NS_PER_US: u64 = 1_000;

/// What a new edge has counted.
pub(crate) static ZERO: EdgeCounters = EdgeCounters::ZERO;

#[inline(always)]
pub(crate) fn is_on() -> bool {
    telemetry::flags().contains(TunableFlags::EDGES)
}

/// A connection is about to be made by the running task.
#[inline(always)]
pub(crate) fn connecting(place: u32) {
    if place != records::NOWHERE
        && let Some(pair) = ctx::shared(maps::pairs.get_ptr_mut(place))
    {
        // Whoever had the place before is not to be taken for the client when this is switched on.
        ctx::store(&mut pair.cgroup, running());
    }
}

/// The running task's cgroup; 0 where nobody is to be counted.
#[inline(always)]
pub(crate) fn running() -> u64 {
    if is_on() { ctx::current_cgroup() } else { 0 }
}

#[inline(always)]
fn noted(place: u32) -> u64 {
    let pair = if place == records::NOWHERE { None } else { maps::pairs.get_ptr_mut(place) };
    ctx::shared(pair).map_or(0, |pair| ctx::load(&pair.cgroup))
}

/// Who has made a connection; 0 where that is not known.
#[inline(always)]
pub(crate) fn cgroup(place: u32) -> u64 {
    if is_on() { noted(place) } else { 0 }
}

/// The edge of a connection: who has made it, and where it went.
#[inline(always)]
fn counters(record: &ConnRecord, place: u32) -> Option<&'static mut EdgeCounters> {
    if !is_on() {
        return None;
    }
    let cgroup = noted(place);
    let ConnRecord { backend, generation, .. } = *record;
    find(&EdgeKey { cgroup, backend, generation })
}

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, key and value would be copied on the stack once more"
)]
fn find(key: &EdgeKey) -> Option<&'static mut EdgeCounters> {
    if let Some(found) = maps::edges.get_ptr_mut(key) {
        return ctx::shared(Some(found));
    }
    // Another CPU may be first; then it is there.
    maps::edges.insert(key, &ZERO, NEW).unwrap_or_default();
    let found = maps::edges.get_ptr_mut(key);
    if found.is_none() {
        telemetry::trouble(Reason::EDGES_FULL);
    }
    ctx::shared(found)
}

/// It is established.
#[inline(always)]
pub(crate) fn opened(record: &ConnRecord, place: u32) {
    if let Some(counters) = counters(record, place) {
        ctx::add(&mut counters.opened, 1);
    }
}

/// It was not established.
#[inline(always)]
pub(crate) fn failed(ctx: &SockOps, record: &ConnRecord, place: u32) {
    let Some(counters) = counters(record, place) else { return };
    let cause = FailureCause::from_errno(ctx.error());
    if let Some(counter) = counters.failed.get_mut(cause.code as usize) {
        ctx::add(counter, 1);
    }
}

/// It has ended, having sent and received so many bytes.
#[inline(always)]
pub(crate) fn closed(ctx: &SockOps, record: &ConnRecord, place: u32, sent: u64, received: u64) {
    let Some(counters) = counters(record, place) else { return };
    let lived = ctx::now_ns().wrapping_sub(record.started_ns);
    ctx::add(&mut counters.bytes_sent, sent);
    ctx::add(&mut counters.bytes_received, received);
    ctx::add(&mut counters.retransmits, u64::from(ctx.total_retrans()));
    ctx::add(&mut counters.rtt_us, u64::from(ctx.srtt_us()));
    ctx::add(&mut counters.duration_us, lived / NS_PER_US);
    // Last, so that whoever sees the connection closed sees its bytes as well.
    ctx::add(&mut counters.closed, 1);
}

/// A datagram socket has been connected by the running task. Its record says so, so that the end is
/// counted where the beginning was: also when this has been switched on meanwhile, or there was no room.
#[inline(always)]
pub(crate) fn connected(cookie: u64) {
    // Of what the table had no room for, nobody knows the client.
    let Some((record, place)) = records::find_place(cookie) else { return };
    connecting(place);
    if parts::count_flow(noted(place), record.backend, record.generation, false) {
        ctx::set_flags(record, ConnFlags::BY_CLIENT);
    }
}

/// It has been closed, or connected elsewhere.
#[inline(always)]
pub(crate) fn disconnected(cookie: u64) {
    if let Some((record, place)) = records::find_place(cookie) {
        parts::count_flow(noted(place), record.backend, record.generation, true);
    }
}

/// The flow of an unconnected socket has ended.
#[inline(always)]
pub(crate) fn flow_ended(flow: &Flow) {
    if flow.flags.contains(ConnFlags::BY_CLIENT) {
        parts::count_flow(flow.cgroup(), flow.backend, flow.generation, true);
    }
}

/// Counts the beginning or the end of a datagram flow; false where that cannot be counted.
#[inline(always)]
pub(crate) fn count_flow(
    cgroup: u64,
    backend: BackendIndex,
    generation: u32,
    has_ended: bool,
) -> bool {
    if cgroup == 0 || !is_on() {
        return false;
    }
    let Some(counters) = find(&EdgeKey { cgroup, backend, generation }) else { return false };
    ctx::add(if has_ended { &mut counters.closed } else { &mut counters.opened }, 1);
    true
}
