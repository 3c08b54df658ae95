//! Same-node acceleration: the end of it. A connection that has gone over to TCP leaves the map of
//! sockets, where TCP is slower and some calls see less than there is. Nothing may get lost: a socket
//! that is in no map forgets what was redirected to it and not read, and what a call that is under way
//! redirects to it.

use mesh_common::accel::{Alarm, AlarmState, End, Pair, PairId, Path, SocketKey};

use crate::accel::{Ends, ends};
use crate::ctx::{Elsewhere, Options as _, SockOps};
use crate::{accel, ctx};

/// An end of an accelerated connection sends a segment of TCP: data, or only an acknowledgement.
#[inline(always)]
pub(crate) fn segment(ctx: &SockOps) {
    let Some((own, pair)) = accel::end(ctx.owner()) else { return };
    let id = own.id;
    let gone = leave(own.end, id, pair);
    if !gone.known {
        return;
    }
    if gone.own {
        // An event that was for what came by TCP may be over: the reader took the end of what was
        // redirected for the end of all.
        if gone.waiting {
            ctx.wake_reader();
        }
        settle(ctx);
        if gone.other {
            ctx.follow_segments(false);
        }
    } else {
        watch(ctx);
    }
}

/// Who is in no map any more.
struct Gone {
    /// There is something to say: the connection has gone over.
    known: bool,
    own: bool,
    other: bool,
    /// Something waits for the reader of this end.
    waiting: bool,
}

/// Takes out who can leave without a loss.
#[inline(always)]
fn leave(end: End, id: PairId, pair: &mut Pair) -> Gone {
    let Ends { path, done, back, back_done, own_at, other_at, .. } = ends(end, pair);
    let (path, back) = (ctx::load(path), ctx::load(back));
    let (here, there) =
        (Elsewhere { at: ctx::load(own_at) }, Elsewhere { at: ctx::load(other_at) });
    let (done, back_done) = (ctx::load(done) != 0, ctx::load(back_done) != 0);
    let mut gone = Gone { known: false, own: false, other: false, waiting: false };
    // Read once more: the place may have become another connection's.
    if path.may_redirect() || back.may_redirect() || here.at == 0 || ctx::load(&pair.id) != id {
        return gone;
    }
    // Whoever looks at the path now redirects nothing; calls that looked before may still.
    let nothing_comes = back == Path::TCP || back_done || !there.is_busy();
    let nothing_goes = path == Path::TCP || done || !here.is_busy();
    if nothing_comes && here.is_enlisted() && here.is_drained() {
        ctx::strike(SocketKey { id, end, pad: 0 });
    }
    if nothing_goes && there.at != 0 && there.is_enlisted() && there.is_drained() {
        ctx::strike(SocketKey { id, end: end.other(), pad: 0 });
    }
    gone.known = true;
    gone.own = !here.is_enlisted();
    gone.other = there.at == 0 || !there.is_enlisted();
    gone.waiting = here.waiting().unwrap_or(0) != 0;
    gone
}

/// Has the socket send something within a second, and so come here again: its reader may sleep, and
/// nobody else tells when it has taken what was redirected.
#[inline(always)]
fn watch(ctx: &SockOps) {
    const SECONDS: u32 = 1;
    /// As many as there can be: the other end is on this node and answers, or TCP gives up.
    const PROBES: u32 = 127;
    let Some(own) = ctx.owner().accelerated(false) else { return };
    if own.alarm.state != AlarmState::UNSET {
        return;
    }
    let (idle, interval, count) = ctx.keep_alive_times();
    let state = if ctx.keeps_alive() { AlarmState::WAS_ON } else { AlarmState::WAS_OFF };
    own.alarm = Alarm { state, idle, interval, count };
    ctx.keep_alive(SECONDS, SECONDS, PROBES);
}

/// Gives the application its keep-alive back.
#[inline(always)]
fn settle(ctx: &SockOps) {
    let Some(own) = ctx.owner().accelerated(false) else { return };
    let Alarm { state, idle, interval, count } = own.alarm;
    if state == AlarmState::UNSET {
        return;
    }
    ctx.keep_alive(idle, interval, count);
    if state == AlarmState::WAS_OFF {
        ctx.keep_no_longer_alive();
    }
    own.alarm = Alarm::default();
}
