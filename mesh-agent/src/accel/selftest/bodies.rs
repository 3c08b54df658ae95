//! Much data: in large pieces and in small ones, with nobody who reads, and with acceleration
//! switched off in between.

use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use mesh_common::accel::{MESSAGES, Path, WINDOW};
use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};

use super::socket::{CHUNK, Link, beside, receive, send, stretch, wait};
use super::{Blame as _, Deadline, Problem};
use crate::bpf::accel::Rig;

/// A body whose reader gives a sign now and then goes past TCP as a whole, and so does one whose reader
/// keeps up in silence, once the program knows its socket; before it does, what the window has no
/// room for goes by TCP. All arrive.
pub(super) fn large_body(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const BODY: usize = 8 << 20;
    const PART: usize = 256 << 10;
    const SILENT: usize = 3 << 20;
    let link = Link::open(rig, deadline)?;
    let parts = || (0..BODY / PART).map(|part| part * PART);
    let reader = || {
        parts().try_for_each(|at| {
            receive(&link.server, at, PART, deadline)?;
            send(&link.server, at / PART, 1, deadline)
        })
    };
    let writer = || {
        parts().try_for_each(|at| {
            send(&link.client, at, PART, deadline)?;
            receive(&link.client, at / PART, 1, deadline)
        })
    };
    beside(reader, writer)?;
    link.redirected(rig, BODY as u64)?;

    let link = Link::open(rig, deadline)?;
    send(&link.server, 0, 1, deadline)?;
    receive(&link.client, 0, 1, deadline)?;
    for at in (0..SILENT).step_by(PART) {
        send(&link.client, at, PART, deadline)?;
        receive(&link.server, at, PART, deadline)?;
    }
    let counted = link.pair(rig)?.sent.bytes;
    if counted != SILENT as u64 {
        return Err(Problem::Saw(format!(
            "{counted} bytes of {SILENT} were redirected to a reader"
        )));
    }

    let link = Link::open(rig, deadline)?;
    let reader = || receive(&link.server, 0, SILENT, deadline);
    beside(reader, || send(&link.client, 0, SILENT, deadline))?;
    let counted = link.pair(rig)?.sent.bytes;
    if counted == 0 || counted > WINDOW {
        let seen = format!("{counted} bytes were redirected to an unknown reader");
        return Err(Problem::Saw(seen));
    }
    Ok(())
}

/// They stay in order.
pub(super) fn many_small_writes(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const WRITES: usize = 10_000;
    let sizes = || (0..WRITES).map(|number| 1 + number * 37 % 64);
    let total: usize = sizes().sum();
    let link = Link::open(rig, deadline)?;
    let writer = || {
        let mut at = 0;
        sizes().try_for_each(|size| {
            at += size;
            send(&link.client, at - size, size, deadline)
        })
    };
    beside(|| receive(&link.server, 0, total, deadline), writer)?;
    // The reader is unknown because it says nothing, so that the rest goes by TCP.
    match link.pair(rig)?.sent.messages {
        MESSAGES => Ok(()),
        other => Err(Problem::Saw(format!("{other} messages of {WRITES} were redirected"))),
    }
}

/// Nobody reads, and the other end sends something now and then, so that its socket is known: what
/// waits in it must be right.
pub(super) fn bounded(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const BUFFER: usize = 128 << 10;
    /// The window, and what TCP's buffers may hold.
    const MOST: usize = 3 << 20;
    /// After this long, a sender that is held back will be so for good.
    const PATIENCE: Duration = Duration::from_millis(30);
    let mut link = Link::open(rig, deadline)?;
    for socket in [&link.client, &link.server] {
        setsockopt(socket, sockopt::SndBuf, &BUFFER).needed("SO_SNDBUF")?;
        setsockopt(socket, sockopt::RcvBuf, &BUFFER).needed("SO_RCVBUF")?;
    }
    let (mut sent, mut signs) = (0, 0);
    loop {
        match link.client.write(&stretch(sent, CHUNK)) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let patience = Deadline { at: deadline.at.min(Instant::now() + PATIENCE) };
                if !wait(&link.client, PollFlags::POLLOUT, patience)? {
                    break;
                }
            }
            Err(error) => return Err(Problem::Saw(format!("send: {error}"))),
        }
        if sent > MOST {
            return Err(Problem::Saw(format!("{sent} bytes were sent, and nobody has read")));
        }
        link.server.write_all(&stretch(signs, 1)).seen("send")?;
        signs += 1;
    }
    let counted = link.pair(rig)?.sent.bytes;
    if counted == 0 || counted > WINDOW {
        return Err(Problem::Saw(format!("{counted} bytes were redirected, and nobody has read")));
    }
    receive(&link.server, 0, sent, deadline)?;
    receive(&link.client, 0, signs, deadline)
}

/// Off and on again: a direction that has gone over to TCP stays there.
pub(super) fn switch_off(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let outcome = switch(rig, deadline);
    rig.switch(true).needed("switch on")?;
    outcome
}

fn switch(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const PART: usize = 100_000;
    let link = Link::open(rig, deadline)?;
    let reader = || receive(&link.server, 0, 3 * PART, deadline);
    beside(reader, || {
        send(&link.client, 0, PART, deadline)?;
        rig.switch(false).needed("switch off")?;
        send(&link.client, PART, PART, deadline)?;
        rig.switch(true).needed("switch on")?;
        send(&link.client, 2 * PART, PART, deadline)
    })?;
    link.redirected(rig, PART as u64)?;
    let path = link.pair(rig)?.sent_path;
    if path == Path::LEFT {
        return Ok(());
    }
    Err(Problem::Saw("the connection did not stay with TCP".to_owned()))
}
