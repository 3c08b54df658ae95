//! The life of a connection: established, failed, closed, with its bytes and round-trip time.
//! Sockets that no service owns leave at the first test and are not followed.

use mesh_common::accel::Paths;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::edge::FailureCause;
use mesh_common::event::{Event, EventKind};
use mesh_common::logic::payload::{self, Final};
use mesh_common::logic::stage::{Change, failure, on_state};
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockOps};
use crate::{accel, edge, guard, inbound, leave, log, parts, records, telemetry, timeouts};

/// `BPF_SOCK_OPS_TIMEOUT_INIT`: how long the SYN, or its answer, has before it is sent again.
const TIMEOUT_INIT: u32 = 1;
/// `BPF_SOCK_OPS_TCP_CONNECT_CB`: just before the SYN.
const CONNECT: u32 = 3;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`: the client's end is established.
const ACTIVE_ESTABLISHED: u32 = 4;
/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`: the server's end is.
const PASSIVE_ESTABLISHED: u32 = 5;
/// `BPF_SOCK_OPS_STATE_CB`: a change of the TCP state, on followed sockets.
const STATE: u32 = 10;
/// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`: TCP is about to send a segment, on sockets that ask for it. Minimum
/// kernel: 5.10.
const SEGMENT: u32 = 14;

#[inline(always)]
pub(crate) fn sockops(ctx: &SockOps) {
    match ctx.op() {
        TIMEOUT_INIT => first_timeout(ctx),
        CONNECT => connecting(ctx),
        ACTIVE_ESTABLISHED => accel::client(ctx),
        PASSIVE_ESTABLISHED => {
            accel::server(ctx);
            inbound::opened(ctx);
        }
        STATE => state(ctx),
        SEGMENT => leave::segment(ctx),
        _ => {}
    }
}

/// Only of connections that are being made: a listener's are no full sockets yet.
#[inline(always)]
fn first_timeout(ctx: &SockOps) {
    if ctx.is_fullsock() == 0 {
        return;
    }
    let Some(record) = records::find(ctx.owner(), ctx.cookie()) else { return };
    if record.stage != Stage::CONNECTING || !record.flags.contains(ConnFlags::TIMED) {
        return;
    }
    if let Some(policy) = guard::policy(record.service) {
        let jiffies = ctx::load(&policy.timeouts.syn_rto_jiffies);
        if jiffies != 0 {
            ctx.reply(jiffies);
        }
    }
}

#[inline(always)]
fn connecting(ctx: &SockOps) {
    accel::again(ctx);
    let Some((record, place)) = records::find_anywhere(ctx.owner(), ctx.cookie()) else { return };
    let (addr, port) = ctx.remote();
    if record.stage == Stage::CHOSEN && record.describes(&addr, port) {
        record.stage = Stage::CONNECTING;
        record.started_ns = ctx::now_ns();
        ctx.follow_states();
        edge::connecting(place);
        accel::connecting(ctx, record);
    }
}

#[inline(always)]
fn state(ctx: &SockOps) {
    let cookie = ctx.cookie();
    let Some((record, place)) = records::find_anywhere(ctx.owner(), cookie) else {
        return inbound::state(ctx);
    };
    let (from, entered) = ctx.states();
    let change = on_state(record.stage, entered);
    record.stage = change.stage(record.stage);
    match change {
        Change::None => return,
        Change::HalfClosed => {
            record.received_mark = low(ctx.bytes_received());
            return;
        }
        Change::Opened => {
            log::opened(record);
            let counters = telemetry::holder(record.backend, record.generation);
            let held = counters.is_some();
            if let Some(counters) = counters {
                ctx::add(&mut counters.opened, 1);
                edge::opened(record, place);
            }
            if telemetry::flags().contains(TunableFlags::TAP) {
                let kind = EventKind::OPENED;
                telemetry::report(&event(ctx, record, place, kind, 0, 0, Paths::default()));
            }
            if record.flags.contains(ConnFlags::GUARDED) {
                guard::opened(record, held);
            }
            timeouts::established(ctx, record);
            record.received_mark = 0;
            return;
        }
        Change::Failed => {
            log::failed(record, ctx.error());
            if let Some(counters) = telemetry::holder(record.backend, record.generation) {
                ctx::add(&mut counters.failed, 1);
                edge::failed(ctx, record, place);
                if record.flags.contains(ConnFlags::ACTIVE) {
                    telemetry::inactive(record.backend);
                }
            }
            parts::failed(record, failure(record.flags, ctx.total_retrans()));
            let kind = EventKind::FAILED;
            telemetry::report(&event(ctx, record, place, kind, 0, 0, Paths::default()));
        }
        Change::Closed => {
            let held = closed(ctx, record, place, from);
            if record.flags.contains(ConnFlags::GUARDED) {
                guard::closed(record, held);
            }
        }
    }
    records::free(cookie);
}

/// Counts the end of an established connection; false where its backend's index has been given to
/// another since.
#[inline(always)]
fn closed(ctx: &SockOps, record: &ConnRecord, place: u32, from: u32) -> bool {
    let end = Final {
        from,
        all_acked: ctx.snd_una() == ctx.snd_nxt(),
        acked: ctx.bytes_acked(),
        received: ctx.bytes_received(),
        received_mark: record.received_mark,
    };
    let (around_sent, around_received, paths) = accel::redirected(ctx, record);
    let sent = payload::sent(&end) + around_sent;
    let received = payload::received(&end) + around_received;
    log::closed(record, sent, received);
    let counters = telemetry::holder(record.backend, record.generation);
    let held = counters.is_some();
    if let Some(counters) = counters {
        ctx::add(&mut counters.bytes_sent, sent);
        ctx::add(&mut counters.bytes_received, received);
        ctx::add(&mut counters.retransmits, u64::from(ctx.total_retrans()));
        ctx::add(&mut counters.rtt_us, u64::from(ctx.srtt_us()));
        // Last, so that whoever sees the connection closed sees its bytes as well.
        ctx::add(&mut counters.closed, 1);
        edge::closed(ctx, record, place, sent, received);
        if record.flags.contains(ConnFlags::ACTIVE) {
            telemetry::inactive(record.backend);
        }
    }
    if telemetry::flags().bits & (TunableFlags::ACCESS_LOG.bits | TunableFlags::TAP.bits) != 0 {
        let kind = EventKind::CLOSED;
        telemetry::report(&event(ctx, record, place, kind, sent, received, paths));
    }
    held
}

#[inline(always)]
fn event(
    ctx: &SockOps,
    record: &ConnRecord,
    place: u32,
    kind: EventKind,
    bytes_sent: u64,
    bytes_received: u64,
    paths: Paths,
) -> Event {
    let time_ns = ctx::now_ns();
    let (client_addr, client_port) = ctx.local();
    let failed = kind.code == EventKind::FAILED.code;
    Event {
        kind,
        service: record.service,
        backend: record.backend,
        generation: record.generation,
        time_ns,
        duration_ns: time_ns.wrapping_sub(record.started_ns),
        bytes_sent,
        bytes_received,
        client_addr,
        frontend_addr: record.frontend_addr,
        backend_addr: record.backend_addr,
        client_port,
        frontend_port: record.frontend_port,
        backend_port: record.backend_port,
        paths,
        retransmits: ctx.total_retrans(),
        srtt_us: ctx.srtt_us(),
        cgroup: edge::cgroup(place),
        cause: if failed { FailureCause::from_errno(ctx.error()).code } else { 0 },
        protocol: ctx::TCP.into(),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) const fn low(value: u64) -> u32 {
    value as u32
}
