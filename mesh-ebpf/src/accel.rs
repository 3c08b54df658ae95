//! Same-node acceleration: finds the two ends of a connection, and sends data from one to the other
//! without the network stack.

use mesh_common::accel::{Accelerated, End, Pair, PairId, PairKey, Pairing, Path, SocketKey};
use mesh_common::addr::IpKey;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::reason::Reason;
use mesh_common::service::ServiceFlags;
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, Message, Owner, SockOps};
use crate::{maps, records, telemetry};

/// `EBUSY`, `EINVAL` and `EOPNOTSUPP`: the socket is another program's, or of another protocol.
const TAKEN: [i32; 3] = [-16, -22, -95];

#[inline(always)]
fn is_on() -> bool {
    telemetry::flags().contains(TunableFlags::ACCELERATION)
}

/// A socket connects. What it kept of an earlier connection goes, unread data with it: the kernel
/// empties a disconnected socket's queue of TCP, but not this one.
#[inline(always)]
pub(crate) fn again(ctx: &SockOps) {
    let owner = ctx.owner();
    if let Some(own) = owner.accelerated(false) {
        ctx::strike(SocketKey { id: own.id, end: own.end, pad: 0 });
        owner.forget_accelerated();
    }
}

/// The client's end of a connection is established: it waits for the server's. The server's comes
/// later, because it is the client's answer that establishes it.
#[inline(always)]
pub(crate) fn client(ctx: &SockOps) {
    if !is_on() {
        return;
    }
    let (owner, cookie) = (ctx.owner(), ctx.cookie());
    let Some((record, place)) = records::find_place(cookie) else { return };
    // A record can be left over from a `connect()` that failed before its SYN.
    if record.stage != Stage::OPEN || !record.flags.contains(ConnFlags::ACCELERATED) {
        return;
    }
    let Some(pair) = ctx::shared(maps::pairs.get_ptr_mut(place)) else { return };
    let Some(own) = owner.accelerated(true) else {
        telemetry::count(Reason::SOCKETS_FULL);
        return;
    };
    let id = PairId::new(cookie, ctx.snd_nxt());
    *own = Accelerated { id, place, end: End::CLIENT };
    *pair = Pair { id, ..Pair::default() };
    if !enlist(ctx, SocketKey { id, end: End::CLIENT, pad: 0 }) {
        return;
    }
    let (client, server) = (ctx.local(), ctx.remote());
    let key = pair_key(ctx, client, server, ctx.snd_nxt(), ctx.rcv_nxt());
    if maps::pairings.insert(key, Pairing { id, place, pad: 0 }, 0).is_err() {
        telemetry::count(Reason::SOCKETS_FULL);
    }
}

/// A server's end of any connection is established.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, the key would be copied on the stack once more"
)]
pub(crate) fn server(ctx: &SockOps) {
    if !is_on() {
        return;
    }
    let (client, server) = (ctx.remote(), ctx.local());
    let key = pair_key(ctx, client, server, ctx.rcv_nxt(), ctx.snd_nxt());
    let Some(Pairing { id, place, .. }) = ctx::copy(maps::pairings.get_ptr(&key)) else {
        return;
    };
    // Nobody else looks for it; what is left is the first to make room for others.
    maps::pairings.remove(key).unwrap_or_default();
    let Some(own) = ctx.owner().accelerated(true) else {
        telemetry::count(Reason::SOCKETS_FULL);
        return;
    };
    *own = Accelerated { id, place, end: End::SERVER };
    enlist(ctx, SocketKey { id, end: End::SERVER, pad: 0 });
}

#[inline(always)]
fn enlist(ctx: &SockOps, key: SocketKey) -> bool {
    match ctx.enlist(key) {
        Ok(()) => true,
        Err(errno) => {
            let taken = errno == TAKEN[0] || errno == TAKEN[1] || errno == TAKEN[2];
            telemetry::count(if taken { Reason::SOCKET_TAKEN } else { Reason::SOCKETS_FULL });
            false
        }
    }
}

#[inline(always)]
fn pair_key(
    ctx: &SockOps,
    (client_addr, client_port): (IpKey, u16),
    (server_addr, server_port): (IpKey, u16),
    client_seq: u32,
    server_seq: u32,
) -> PairKey {
    let netns = if server_addr.is_loopback() { ctx.netns_cookie() } else { 0 };
    PairKey {
        client_addr,
        server_addr,
        client_port,
        server_port,
        client_seq,
        server_seq,
        pad: 0,
        netns,
    }
}

/// A socket sends a message. It always passes: by the other way, or as if this program were not
/// there.
#[inline(always)]
pub(crate) fn message(message: &Message<'_>) {
    let Some((own, pair)) = end(message.owner()) else { return };
    // Numbers for the unknown as well: the verifier refuses what is not always set.
    let (taken, waiting) = match message.owner().inside() {
        Some(inside) => (inside.taken, inside.waiting),
        None => (true, u32::MAX),
    };
    let Pair { sent, received, sent_path, received_path, stop, .. } = pair;
    let (outward, path, inward, back) = if own.end == End::CLIENT {
        (sent, sent_path, received, received_path)
    } else {
        (received, received_path, sent, sent_path)
    };
    // Who sends has its own socket at hand, and so knows what it has not read.
    if ctx::load(back) == Path::REDIRECTED && waiting != u32::MAX {
        let read = ctx::load(&inward.bytes).wrapping_sub(waiting.into());
        ctx::store(&mut inward.taken, read);
        if waiting == 0 {
            let all = ctx::load(&inward.messages);
            ctx::store(&mut inward.messages_taken, all);
        }
    }
    let to = SocketKey { id: own.id, end: own.end.other(), pad: 0 };
    let (before, size) = (ctx::load(path), u64::from(message.size()));
    let redirected = before.may_redirect()
        && !taken
        && ctx::load(outward).has_room(size)
        && ctx::load(stop) == 0
        && is_on()
        && is_wanted(own.place)
        && message.owner().sends()
        && message.redirect(to);
    let after = before.after(redirected);
    if before != after {
        ctx::store(path, after);
        if taken {
            telemetry::count(Reason::SOCKET_TAKEN);
        }
    }
    if redirected {
        ctx::add(&mut outward.bytes, size);
        let messages = ctx::load(&outward.messages).wrapping_add(1);
        ctx::store(&mut outward.messages, messages);
    }
}

/// Whether the service of the connection at this place still asks for acceleration.
#[inline(always)]
fn is_wanted(place: u32) -> bool {
    let Some(record) = ctx::shared(maps::conns.get_ptr_mut(place)) else { return false };
    let service = ctx::load(&record.service);
    ctx::shared(maps::services.get_ptr_mut(service.index))
        .is_some_and(|head| ctx::load(&head.flags).contains(ServiceFlags::ACCELERATED))
}

/// The end of an accelerated connection, unless its client's is over.
#[inline(always)]
fn end(owner: Owner) -> Option<(Accelerated, &'static mut Pair)> {
    let own = *owner.accelerated(false)?;
    let pair = ctx::shared(maps::pairs.get_ptr_mut(own.place))?;
    if ctx::load(&pair.id) == own.id { Some((own, pair)) } else { None }
}

/// Bytes that a connection has sent and received without TCP's knowledge.
#[inline(always)]
pub(crate) fn redirected(ctx: &SockOps, record: &ConnRecord) -> (u64, u64) {
    if !record.flags.contains(ConnFlags::ACCELERATED) {
        return (0, 0);
    }
    match end(ctx.owner()) {
        Some((_, pair)) => (ctx::load(&pair.sent.bytes), ctx::load(&pair.received.bytes)),
        None => (0, 0),
    }
}
