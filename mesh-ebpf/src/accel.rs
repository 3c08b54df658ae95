//! Same-node acceleration: finds the two ends of a connection, and sends data from one to the other
//! without the network stack.

use mesh_common::accel::{
    Accelerated, Alarm, AutoKey, Direction, End, MOST_UNWANTED, Pair, PairId, PairKey, Pairing,
    Path, Paths, SocketKey,
};
use mesh_common::addr::IpKey;
use mesh_common::conn::{ConnFlags, ConnRecord, Stage};
use mesh_common::reason::Reason;
use mesh_common::service::{ServiceFlags, ServiceIndex};
use mesh_common::tunables::TunableFlags;

use crate::ctx::{self, Elsewhere, Message, Owner, SockOps};
use crate::{leave, maps, records, telemetry};

/// `EBUSY`, `EINVAL` and `EOPNOTSUPP`: the socket is another program's, or of another protocol.
const TAKEN: [i32; 3] = [-16, -22, -95];

#[inline(always)]
fn is_on() -> bool {
    telemetry::flags().contains(TunableFlags::ACCELERATION)
}

/// A socket connects. What it kept of an earlier connection goes, unread data with it: the kernel
/// empties a disconnected socket's queue of TCP, but not this one. It is not accelerated again: what
/// was on its way to it would be taken for the new connection's.
#[inline(always)]
pub(crate) fn again(ctx: &SockOps) {
    if !telemetry::flags().contains(TunableFlags::ENLISTED) {
        return;
    }
    if let Some(own) = ctx.owner().accelerated(false) {
        leave::settle(ctx);
        ctx.follow_segments(false);
        ctx::strike(SocketKey { id: own.id, end: own.end, pad: 0 });
        own.id = PairId::default();
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
    if owner.accelerated(false).is_some() {
        return;
    }
    let Some(own) = owner.accelerated(true) else {
        telemetry::trouble(Reason::SOCKETS_FULL);
        return;
    };
    let id = PairId::new(cookie, ctx.snd_nxt());
    *own = Accelerated { id, place, end: End::CLIENT, alarm: Alarm::default() };
    let cgroup = ctx::load(&pair.cgroup);
    *pair = Pair { id, client_at: owner.address(), cgroup, ..Pair::default() };
    if !enlist(ctx, SocketKey { id, end: End::CLIENT, pad: 0 }) {
        return;
    }
    let (client, server) = (ctx.local(), ctx.remote());
    let key = pair_key(ctx, client, server, ctx.snd_nxt(), ctx.rcv_nxt());
    if maps::pairings.insert(key, Pairing { id, place, pad: 0 }, 0).is_err() {
        telemetry::trouble(Reason::SOCKETS_FULL);
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
        telemetry::trouble(Reason::SOCKETS_FULL);
        return;
    };
    *own = Accelerated { id, place, end: End::SERVER, alarm: Alarm::default() };
    let Some((_, pair)) = end(ctx.owner()) else { return };
    // A client that has sent something by TCP already has decided for both directions.
    if ctx::load(&pair.sent_path).may_redirect()
        && enlist(ctx, SocketKey { id, end: End::SERVER, pad: 0 })
    {
        // From now on the client redirects.
        ctx::store(&mut pair.server_at, ctx.owner().address());
    }
}

#[inline(always)]
fn enlist(ctx: &SockOps, key: SocketKey) -> bool {
    match ctx.enlist(key) {
        Ok(()) => {
            ctx.follow_segments(true);
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
    let Ends { outward, path, done, back, own_at, other_at, .. } = ends(own.end, pair);
    let before = ctx::load(path);
    if !before.may_redirect() {
        settled(done, own.id, Elsewhere { at: ctx::load(own_at) });
        return;
    }
    if ctx::load(own_at) == Pair::SOMEWHERE {
        ctx::store(own_at, owner.address());
    }
    let to = SocketKey { id: own.id, end: own.end.other(), pad: 0 };
    let size = u64::from(message.size());
    let sender = Elsewhere { at: ctx::load(own_at) };
    let reader = Elsewhere { at: ctx::load(other_at) };
    // A reader that cannot be looked at has read nothing.
    let (known, waiting) = match reader.waiting() {
        Some(waiting) => (true, waiting),
        None => (false, ctx::load(&outward.bytes)),
    };
    if waiting == 0 {
        let all = ctx::load(&outward.messages);
        ctx::store(&mut outward.messages_taken, all);
    }
    let taken = owner.is_taken() || reader.has_protocol();
    // A reader may take it for the end of what there is when one way has no more. Where it can be
    // chosen, the change comes when nothing waits, unless that is never so.
    let cannot_stop = known
        && waiting != 0
        && before == Path::REDIRECTED
        && ctx::load(outward).behind() < MOST_UNWANTED;
    let redirected = reader.at != 0
        && !taken
        && ctx::load(outward).has_room(waiting, size)
        && (cannot_stop || is_on() && is_wanted(own.place, cgroup, sender, reader))
        && owner.sends()
        && advance(path, true) == Path::REDIRECTED
        && message.redirect(to);
    if redirected {
        ctx::add(&mut outward.bytes, size);
        let messages = ctx::load(&outward.messages).wrapping_add(1);
        ctx::store(&mut outward.messages, messages);
        return;
    }
    // The connection goes over as a whole, so that it can leave the map.
    advance(path, false);
    advance(back, false);
    settled(done, own.id, sender);
    if taken {
        telemetry::count(Reason::SOCKET_TAKEN);
    }
}

/// Notes that nothing that this end has redirected is on its way any more, if that is so: its path says
/// TCP, and beside the map only this call, which has its lock, uses the socket.
#[inline(always)]
fn settled(done: &mut PairId, id: PairId, sender: Elsewhere) {
    if ctx::load(done) != id && sender.has_users(2) {
        ctx::store(done, id);
    }
}

/// Takes a path to where a message takes it that is redirected, or not; says where it is then.
/// Others do the same at any time.
#[inline(always)]
pub(crate) fn advance(path: &mut Path, redirected: bool) -> Path {
    for from in [Path::UNDECIDED, Path::REDIRECTED] {
        let to = from.after(redirected);
        if from != to && ctx::exchange(&mut path.code, from.code, to.code) {
            return to;
        }
    }
    ctx::load(path)
}

/// A connection as one of its ends sees it.
pub(crate) struct Ends<'a> {
    pub(crate) outward: &'a mut Direction,
    pub(crate) path: &'a mut Path,
    pub(crate) done: &'a mut PairId,
    pub(crate) back: &'a mut Path,
    pub(crate) back_done: &'a PairId,
    pub(crate) own_at: &'a mut u64,
    pub(crate) other_at: &'a u64,
}

#[inline(always)]
pub(crate) fn ends(end: End, pair: &mut Pair) -> Ends<'_> {
    if end == End::CLIENT {
        Ends {
            outward: &mut pair.sent,
            path: &mut pair.sent_path,
            done: &mut pair.sent_done,
            back: &mut pair.received_path,
            back_done: &pair.received_done,
            own_at: &mut pair.client_at,
            other_at: &pair.server_at,
        }
    } else {
        Ends {
            outward: &mut pair.received,
            path: &mut pair.received_path,
            done: &mut pair.received_done,
            back: &mut pair.sent_path,
            back_done: &pair.sent_done,
            own_at: &mut pair.server_at,
            other_at: &pair.client_at,
        }
    }
}

/// Whether the service of the connection at this place still asks for acceleration. Where it leaves that
/// to the agent, neither end may block, whatever the agent has seen: programs change, and others of
/// the same cgroup connect.
#[inline(always)]
fn is_wanted(place: u32, cgroup: u64, sender: Elsewhere, reader: Elsewhere) -> bool {
    let Some(record) = ctx::shared(maps::conns.get_ptr_mut(place)) else { return false };
    let service = ctx::load(&record.service);
    let Some(head) = ctx::shared(maps::services.get_ptr_mut(service.index)) else { return false };
    let flags = ctx::load(&head.flags);
    flags.contains(ServiceFlags::ACCELERATED)
        && (!flags.contains(ServiceFlags::AUTO)
            || is_allowed(cgroup, service) && !sender.blocks() && !reader.blocks())
}

/// The end of an accelerated connection, unless its client's is over.
#[inline(always)]
pub(crate) fn end(owner: Owner) -> Option<(Accelerated, &'static mut Pair)> {
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
