//! Same-node acceleration: the end of it. A connection that has gone over to TCP leaves the map of
//! sockets, where TCP is slower and some calls see less than there is. Nothing may get lost: a socket
//! that is in no map forgets what was redirected to it and not read, and what a call that is under way
//! redirects to it.
//!
//! Each end takes itself out, under its own lock.

use mesh_common::accel::{Accelerated, Alarm, AlarmState, End, Pair, PairId, Path, SocketKey};

use crate::accel::{self, Ends, advance, ends};
use crate::ctx::{self, Elsewhere, Options as _, SockOps};

/// Keep-alive of a socket whose reader is behind: the shortest there is, and as many probes as there can
/// be, because the other end is on this node and answers.
const SECONDS: u32 = 1;
const PROBES: u32 = 127;

/// An end of an accelerated connection sends a segment of TCP: data, or only an acknowledgement.
#[inline(always)]
pub(crate) fn segment(ctx: &SockOps) {
    let Some((own, pair)) = accel::end(ctx.owner()) else { return };
    let Accelerated { id, end, .. } = own;
    undecided(ctx, end, pair);
    match leave(id, end, pair) {
        Left::NotYet => {}
        Left::Waits => watch(ctx),
        Left::Gone { waiting } => {
            // An event that was for what came by TCP may be over: the reader took the end of what was
            // redirected for the end of all.
            if waiting {
                ctx.wake_reader();
            }
            settle(ctx);
            ctx.follow_segments(false);
        }
    }
}

/// Where an end is.
enum Left {
    /// Data may go past TCP.
    NotYet,
    /// It has gone over, but something may be lost.
    Waits,
    /// It is in no map.
    Gone {
        /// Something waits for its reader.
        waiting: bool,
    },
}

/// Decides for TCP where TCP has carried data that no program was asked about: a call that sent before
/// the connection was established (TCP Fast Open among others), or a server that is in no map.
#[inline(always)]
fn undecided(ctx: &SockOps, end: End, pair: &mut Pair) {
    let Ends { path, back, other_at, .. } = ends(end, pair);
    let sends = ctx::load(path) == Path::UNDECIDED && ctx.skb_len() != 0;
    let receives = ctx::load(other_at) == 0 && ctx.bytes_received() != 0;
    if sends || receives {
        advance(path, false);
        advance(back, false);
    }
}

/// Takes this end out if nothing can be lost.
#[inline(always)]
fn leave(id: PairId, end: End, pair: &mut Pair) -> Left {
    let Ends { path, back, back_done, own_at, other_at, .. } = ends(end, pair);
    let (path, back) = (ctx::load(path), ctx::load(back));
    let (here, there) =
        (Elsewhere { at: ctx::load(own_at) }, Elsewhere { at: ctx::load(other_at) });
    let back_done = ctx::load(back_done) == id;
    // Read once more: the place may have become another connection's.
    if path.may_redirect()
        || back.may_redirect()
        || here.at <= Pair::SOMEWHERE
        || ctx::load(&pair.id) != id
    {
        return Left::NotYet;
    }
    // Whoever looks at the path now redirects nothing; calls that looked before may still.
    let nothing_comes = back == Path::TCP || back_done || !there.is_busy();
    if nothing_comes && here.is_enlisted() && here.is_drained() {
        ctx::strike(SocketKey { id, end, pad: 0 });
    }
    if here.is_enlisted() {
        return Left::Waits;
    }
    Left::Gone { waiting: here.waiting().unwrap_or(0) != 0 && !here.has_protocol() }
}

/// Has the socket send something within a second, and so come here again: its reader may sleep, and
/// nobody else tells when it has taken what was redirected.
#[inline(always)]
fn watch(ctx: &SockOps) {
    const CLOSE_WAIT: u32 = 8;
    /// An end that has closed answers for `tcp_fin_timeout`, and then with a reset.
    const MOST_CLOSING: u32 = 5;
    let Some(own) = ctx.owner().accelerated(false) else { return };
    if ctx.state() == CLOSE_WAIT {
        own.alarm.closing += 1;
        if own.alarm.closing > MOST_CLOSING {
            settle(ctx);
            ctx.follow_segments(false);
            return;
        }
    }
    if own.alarm.state != AlarmState::UNSET {
        return;
    }
    let (idle, interval, count) = ctx.keep_alive_times();
    let state = if ctx.keeps_alive() { AlarmState::WAS_ON } else { AlarmState::WAS_OFF };
    own.alarm = Alarm { state, idle, interval, count, ..own.alarm };
    ctx.keep_alive(SECONDS, SECONDS, PROBES);
}

/// Gives the application its keep-alive back, unless it has changed it meanwhile.
#[inline(always)]
pub(crate) fn settle(ctx: &SockOps) {
    let Some(own) = ctx.owner().accelerated(false) else { return };
    let Alarm { state, idle, interval, count, .. } = own.alarm;
    if state == AlarmState::UNSET {
        return;
    }
    own.alarm.state = AlarmState::UNSET;
    if ctx.keep_alive_times() != (SECONDS, SECONDS, PROBES) {
        return;
    }
    ctx.keep_alive(idle, interval, count);
    if state == AlarmState::WAS_OFF {
        ctx.keep_no_longer_alive();
    }
}
