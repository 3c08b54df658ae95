//! Same-node acceleration: finds the two ends of a connection, and sends data from one to the other
//! without the network stack.

use mesh_common::accel::{
    Accelerated, AutoKey, Direction, End, Pair, PairId, PairKey, Pairing, Path, Paths, SocketKey,
};
use mesh_common::addr::IpKey;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceFlags, ServiceIndex};
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, Elsewhere, Message, Owner, SockOps};
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
    if !telemetry::flags().contains(TunableFlags::ENLISTED) {
        return;
    }
    let owner = ctx.owner();
    if let Some(own) = owner.accelerated(false) {
        ctx::strike(SocketKey { id: own.id, end: own.end, pad: 0 });
        owner.forget_accelerated();
    }
}

/// A connection that may be accelerated is about to be made by the running task. Where the service
/// leaves it to the agent, the agent must have said yes to this client.
#[inline(always)]
pub(crate) fn connecting(ctx: &SockOps, record: &mut ConnRecord) {
    if !record.flags.contains(ConnFlags::ACCELERATED) || !is_auto(record.service) {
        return;
    }
    let cgroup = ctx::current_cgroup();
    if is_allowed(cgroup, record.service)
        && let Some((_, place)) = records::find_place(ctx.cookie())
        && let Some(pair) = ctx::shared(maps::pairs.get_ptr_mut(place))
    {
        // What it says of an earlier connection is not touched before this one is established.
        ctx::store(&mut pair.cgroup, cgroup);
    } else {
        record.flags.bits &= !ConnFlags::ACCELERATED.bits;
    }
}

/// Whether the service has the agent decide for which clients it is accelerated.
#[inline(always)]
fn is_auto(service: ServiceIndex) -> bool {
    ctx::shared(maps::services.get_ptr_mut(service.index))
        .is_some_and(|head| ctx::load(&head.flags).contains(ServiceFlags::AUTO))
}

#[inline(always)]
fn is_allowed(cgroup: u64, service: ServiceIndex) -> bool {
    maps::auto_clients.get_ptr(AutoKey { cgroup, service, pad: 0 }).is_some()
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
    let cgroup = ctx::load(&pair.cgroup);
    *pair = Pair { id, client_at: owner.address(), cgroup, ..Pair::default() };
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
    if enlist(ctx, SocketKey { id, end: End::SERVER, pad: 0 })
        && let Some((_, pair)) = end(ctx.owner())
    {
        // From now on the client redirects.
        ctx::store(&mut pair.server_at, ctx.owner().address());
    }
}

#[inline(always)]
fn enlist(ctx: &SockOps, key: SocketKey) -> bool {
    match ctx.enlist(key) {
        Ok(()) => {
            ctx.follow_round_trips(true);
            true
        }
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
    let owner = message.owner();
    let Some((own, pair)) = end(owner) else { return };
    let cgroup = ctx::load(&pair.cgroup);
    let Ends { outward, path, back, own_at, other_at } = ends(own.end, pair);
    if !ctx::load(path).may_redirect() {
        return;
    }
    ctx::store(own_at, owner.address());
    let to = SocketKey { id: own.id, end: own.end.other(), pad: 0 };
    let (size, reader) = (u64::from(message.size()), Elsewhere { at: ctx::load(other_at) });
    // A reader that cannot be looked at has read nothing.
    let waiting = reader.waiting().unwrap_or(ctx::load(&outward.bytes));
    if waiting == 0 {
        let all = ctx::load(&outward.messages);
        ctx::store(&mut outward.messages_taken, all);
    }
    let taken = owner.is_taken() || reader.has_protocol();
    let redirected = reader.at != 0
        && !taken
        && ctx::load(outward).has_room(waiting, size)
        && is_on()
        && is_wanted(own.place, cgroup)
        && owner.sends()
        && advance(path, true) == Path::REDIRECTED
        && message.redirect(to);
    if redirected {
        ctx::add(&mut outward.bytes, size);
        let messages = ctx::load(&outward.messages).wrapping_add(1);
        ctx::store(&mut outward.messages, messages);
        return;
    }
    if advance(path, false) == Path::LEFT {
        // The other direction follows, so that both ends can leave the map: TCP is slower in it.
        advance(back, false);
    }
    if taken {
        telemetry::count(Reason::SOCKET_TAKEN);
    }
}

/// Takes a path to where a message takes it that is redirected, or not; says where it is then.
/// Others do the same at any time.
#[inline(always)]
fn advance(path: &mut Path, redirected: bool) -> Path {
    for from in [Path::UNDECIDED, Path::REDIRECTED] {
        let to = from.after(redirected);
        if from != to && ctx::exchange(&mut path.code, from.code, to.code) {
            return to;
        }
    }
    ctx::load(path)
}

/// TCP has measured a round trip on an end of a connection, so that something went by TCP. What goes
/// that way for good leaves the map of sockets, once nothing that was redirected can be lost: a socket
/// that is in no map forgets what waits for its reader, and takes no more.
#[inline(always)]
pub(crate) fn acknowledged(ctx: &SockOps) {
    let Some((own, pair)) = end(ctx.owner()) else { return };
    let id = own.id;
    let Ends { path, back, own_at, other_at, .. } = ends(own.end, pair);
    let (path, back) = (ctx::load(path), ctx::load(back));
    let (here, there) =
        (Elsewhere { at: ctx::load(own_at) }, Elsewhere { at: ctx::load(other_at) });
    // Without another end nothing is ever redirected to this one.
    let alone = there.at == 0;
    if path.may_redirect() || back.may_redirect() && !alone {
        return;
    }
    // Since `back` says TCP, calls that send on the other end redirect no more; those that began
    // before still may.
    if here.is_enlisted() && (back != Path::LEFT || here.is_drained() && !there.is_busy()) {
        ctx::strike(SocketKey { id, end: own.end, pad: 0 });
    }
    if here.is_enlisted() {
        return;
    }
    // Now nothing from here is on its way to the other end.
    if !alone && there.is_enlisted() {
        if !there.is_drained() {
            return;
        }
        ctx::strike(SocketKey { id, end: own.end.other(), pad: 0 });
    }
    ctx.follow_round_trips(false);
}

/// A connection as one of its ends sees it.
struct Ends<'a> {
    outward: &'a mut Direction,
    path: &'a mut Path,
    back: &'a mut Path,
    own_at: &'a mut u64,
    other_at: &'a u64,
}

#[inline(always)]
fn ends(end: End, pair: &mut Pair) -> Ends<'_> {
    let Pair { sent, received, sent_path, received_path, client_at, server_at, .. } = pair;
    if end == End::CLIENT {
        Ends {
            outward: sent,
            path: sent_path,
            back: received_path,
            own_at: client_at,
            other_at: server_at,
        }
    } else {
        Ends {
            outward: received,
            path: received_path,
            back: sent_path,
            own_at: server_at,
            other_at: client_at,
        }
    }
}

/// Whether the service of the connection at this place still asks for acceleration.
#[inline(always)]
fn is_wanted(place: u32, cgroup: u64) -> bool {
    let Some(record) = ctx::shared(maps::conns.get_ptr_mut(place)) else { return false };
    let service = ctx::load(&record.service);
    let Some(head) = ctx::shared(maps::services.get_ptr_mut(service.index)) else { return false };
    let flags = ctx::load(&head.flags);
    flags.contains(ServiceFlags::ACCELERATED)
        && (!flags.contains(ServiceFlags::AUTO) || is_allowed(cgroup, service))
}

/// The end of an accelerated connection, unless its client's is over.
#[inline(always)]
fn end(owner: Owner) -> Option<(Accelerated, &'static mut Pair)> {
    let own = *owner.accelerated(false)?;
    let pair = ctx::shared(maps::pairs.get_ptr_mut(own.place))?;
    if ctx::load(&pair.id) == own.id { Some((own, pair)) } else { None }
}

/// Bytes that a connection has sent and received without TCP's knowledge, and which ways they went.
#[inline(always)]
pub(crate) fn redirected(ctx: &SockOps, record: &ConnRecord) -> (u64, u64, Paths) {
    if record.flags.contains(ConnFlags::ACCELERATED)
        && let Some((_, pair)) = end(ctx.owner())
    {
        let paths = Paths::new(ctx::load(&pair.sent_path), ctx::load(&pair.received_path));
        return (ctx::load(&pair.sent.bytes), ctx::load(&pair.received.bytes), paths);
    }
    (0, 0, Paths::default())
}
