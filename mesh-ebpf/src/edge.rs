//! Connections by who makes them: what a backend's counters say, in parts. Whoever is counted here is
//! counted there first, so that the parts never come to more than the whole.

use mesh_common::conn::ConnRecord;
use mesh_common::edge::{EdgeCounters, EdgeKey, FailureCause};
use mesh_common::reason::Reason;
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockOps};
use crate::{maps, records, telemetry};

/// `BPF_NOEXIST`.
const NEW: u64 = 1;
const NS_PER_US: u64 = 1_000;

/// What a new edge has counted.
static ZERO: EdgeCounters = EdgeCounters::ZERO;

#[inline(always)]
fn is_on() -> bool {
    telemetry::flags().contains(TunableFlags::EDGES)
}

/// A connection is about to be made by the running task.
#[inline(always)]
pub(crate) fn connecting(place: u32) {
    if is_on()
        && place != records::NOWHERE
        && let Some(pair) = ctx::shared(maps::pairs.get_ptr_mut(place))
    {
        ctx::store(&mut pair.cgroup, ctx::current_cgroup());
    }
}

/// The edge of a connection: who has made it, and where it went.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, key and value would be copied on the stack once more"
)]
fn counters(record: &ConnRecord, place: u32) -> Option<&'static mut EdgeCounters> {
    if !is_on() {
        return None;
    }
    let pair = if place == records::NOWHERE { None } else { maps::pairs.get_ptr_mut(place) };
    let cgroup = ctx::shared(pair).map_or(0, |pair| ctx::load(&pair.cgroup));
    let ConnRecord { backend, generation, .. } = *record;
    let key = EdgeKey { cgroup, backend, generation, ..EdgeKey::default() };
    if let Some(found) = maps::edges.get_ptr_mut(&key) {
        return ctx::shared(Some(found));
    }
    // Another CPU may be first; then it is there.
    maps::edges.insert(&key, &ZERO, NEW).unwrap_or_default();
    let found = maps::edges.get_ptr_mut(&key);
    if found.is_none() {
        telemetry::count(Reason::EDGES_FULL);
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
