//! Connections at the server's end: those to this node's endpoints are counted here as well, whoever
//! makes them and from wherever. What no endpoint listens for leaves after one lookup.

use mesh_common::edge::EdgeCounters;
use mesh_common::frontend::FrontendKey;
use mesh_common::inbound::{Accepted, ClientId, EndpointId, InboundKey};
use mesh_common::logic::payload::{self, Final, state};
use mesh_common::reason::Reason;
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, SockOps, TCP};
use crate::sockops::low;
use crate::{accel, edge, maps, telemetry};

/// The server's end of any connection is established. A function of its own, because a program and what
/// it calls have 512 bytes of stack.
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the key would be copied on the stack once more"
)]
pub(crate) fn opened(ctx: &SockOps) {
    if !edge::is_on() {
        return;
    }
    let (addr, port) = ctx.local();
    let local = FrontendKey::new(addr, port, TCP);
    // The values are copied: an entry that is deleted meanwhile may be reused.
    let Some(endpoint) = ctx::copy(maps::locals.get_ptr(&local)) else { return };
    let (peer, _) = ctx.remote();
    let client = ctx::copy(maps::peers.get_ptr(&peer)).unwrap_or_default();
    let Some(accepted) = ctx.owner().accepted(true) else {
        return telemetry::count(Reason::INBOUND_LOST);
    };
    let Some((key, counters)) = entry(InboundKey { endpoint, client }) else {
        return telemetry::count(Reason::INBOUND_LOST);
    };
    *accepted = Accepted { key, started_ns: ctx::now_ns(), ..Accepted::default() };
    ctx::add(&mut counters.opened, 1);
    ctx.follow_states();
}

/// Where to count a connection: with the unknown client's, where there is no room for its own.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, key and value would be copied on the stack once more"
)]
fn entry(mut key: InboundKey) -> Option<(InboundKey, &'static mut EdgeCounters)> {
    if let Some(found) = counters(&key) {
        return Some((key, found));
    }
    if key.client != ClientId::UNKNOWN {
        // Another CPU may be first; then it is there.
        maps::inbound.insert(&key, &edge::ZERO, edge::NEW).unwrap_or_default();
        if let Some(found) = counters(&key) {
            return Some((key, found));
        }
        telemetry::count(Reason::INBOUND_FULL);
        key.client = ClientId::UNKNOWN;
    }
    counters(&key).map(|found| (key, found))
}

#[inline(always)]
fn counters(key: &InboundKey) -> Option<&'static mut EdgeCounters> {
    ctx::shared(maps::inbound.get_ptr_mut(key))
}

/// A socket that no record describes changes its state. A function of its own as [`opened`].
#[inline(never)]
pub(crate) fn state(ctx: &SockOps) {
    let Some(accepted) = ctx.owner().accepted(false) else { return };
    if accepted.key.endpoint == EndpointId::NONE {
        return;
    }
    redirected(ctx, accepted);
    let (from, entered) = ctx.states();
    match entered {
        state::FIN_WAIT2 => accepted.received_mark = low(ctx.bytes_received()),
        state::CLOSE => closed(ctx, accepted, from),
        _ => {}
    }
}

/// Notes what went past TCP. The client's end may be over before this one, and its place another
/// connection's; but nothing goes either way any more after the states that both pass before that.
#[inline(always)]
fn redirected(ctx: &SockOps, accepted: &mut Accepted) {
    if telemetry::flags().contains(TunableFlags::ENLISTED)
        && let Some((_, pair)) = accel::end(ctx.owner())
    {
        accepted.sent = ctx::load(&pair.received.bytes);
        accepted.received = ctx::load(&pair.sent.bytes);
    }
}

/// It has ended. Bytes are told as the client sees them.
#[inline(always)]
fn closed(ctx: &SockOps, accepted: &mut Accepted, from: u32) {
    let Accepted { key, started_ns, sent, received, received_mark, .. } = *accepted;
    // A socket can be used again.
    accepted.key.endpoint = EndpointId::NONE;
    let Some(counters) = counters(&key) else { return };
    let end = Final {
        from,
        all_acked: ctx.snd_una() == ctx.snd_nxt(),
        acked: ctx.bytes_acked(),
        received: ctx.bytes_received(),
        received_mark,
    };
    let in_flight = ctx.snd_nxt().wrapping_sub(ctx.snd_una());
    let lived = ctx::now_ns().wrapping_sub(started_ns);
    ctx::add(&mut counters.bytes_sent, payload::received(&end) + received);
    ctx::add(&mut counters.bytes_received, payload::sent_by_server(&end, in_flight) + sent);
    ctx::add(&mut counters.retransmits, u64::from(ctx.total_retrans()));
    ctx::add(&mut counters.rtt_us, u64::from(ctx.srtt_us()));
    ctx::add(&mut counters.duration_us, lived / edge::NS_PER_US);
    // Last, so that whoever sees the connection closed sees its bytes as well.
    ctx::add(&mut counters.closed, 1);
}
