//! What programs ask of a socket beyond reading and writing.

use std::io::{ErrorKind, IoSliceMut, Read as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::pipe2;

use super::socket::{CHUNK, Link, compare, receive, send, stretch, wait};
use super::{Blame as _, Deadline, Problem};
use crate::accel::sys::{readable, set_option};
use crate::bpf::accel::Rig;

const SIZE: usize = 1_000;
const PART: usize = 300;

/// A connection with data that waits for the server.
fn waiting(rig: &mut Rig, deadline: Deadline) -> Result<Link, Problem> {
    let link = Link::open(rig, deadline)?;
    send(&link.client, 0, SIZE, deadline)?;
    link.redirected(rig, SIZE as u64)?;
    if !wait(&link.server, PollFlags::POLLIN, deadline)? {
        return Err(Problem::Saw("the reader was not woken".to_owned()));
    }
    Ok(link)
}

/// Data is shown twice, in part and as a whole, and then read.
pub(super) fn peek(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = waiting(rig, deadline)?;
    for size in [PART, SIZE, 2 * SIZE] {
        let mut buffer = vec![0; size];
        let shown = link.server.peek(&mut buffer).seen("recv(MSG_PEEK)")?;
        if shown != size.min(SIZE) {
            return Err(Problem::Saw(format!("{shown} of {SIZE} bytes were shown")));
        }
        compare(buffer.get(..shown).unwrap_or_default(), 0)?;
    }
    receive(&link.server, 0, SIZE, deadline)?;
    nothing_left(&link.server)
}

fn nothing_left(mut socket: &TcpStream) -> Result<(), Problem> {
    match socket.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(Problem::Saw(format!("recv: {error}"))),
        Ok(count) => Err(Problem::Saw(format!("{count} bytes too many"))),
    }
}

/// The number is that of the bytes, before and after some are read.
pub(super) fn fionread(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = waiting(rig, deadline)?;
    let says = |expected: usize| match readable(link.server.as_fd()).seen("ioctl(FIONREAD)")? {
        count if count == expected => Ok(()),
        count => Err(Problem::Saw(format!("FIONREAD says {count} where {expected} bytes wait"))),
    };
    says(SIZE)?;
    receive(&link.server, 0, PART, deadline)?;
    says(SIZE - PART)?;
    receive(&link.server, PART, SIZE - PART, deadline)?;
    says(0)
}

/// Not ready with a part of what the reader wants, ready with all of it.
pub(super) fn rcvlowat(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    /// How long a wake-up is looked for that must not come.
    const PATIENCE: Duration = Duration::from_millis(20);
    let link = Link::open(rig, deadline)?;
    let wanted = libc::c_int::try_from(SIZE).needed("SO_RCVLOWAT")?;
    set_option(link.server.as_fd(), libc::SO_RCVLOWAT, wanted).needed("SO_RCVLOWAT")?;
    send(&link.client, 0, PART, deadline)?;
    let early = Deadline { at: deadline.at.min(Instant::now() + PATIENCE) };
    if wait(&link.server, PollFlags::POLLIN, early)? {
        return Err(Problem::Saw(format!("poll: ready with {PART} of {SIZE} bytes")));
    }
    send(&link.client, PART, SIZE - PART, deadline)?;
    if !wait(&link.server, PollFlags::POLLIN, deadline)? {
        return Err(Problem::Saw(format!("poll: not ready with all {SIZE} bytes")));
    }
    receive(&link.server, 0, SIZE, deadline)
}

/// Through a pipe, as proxies do.
pub(super) fn splice_reader(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = waiting(rig, deadline)?;
    let (out, pipe) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).needed("pipe2")?;
    let mut moved = 0;
    while moved < SIZE {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        let left = SIZE - moved;
        match splice(&link.server, None, &pipe, None, left, flags) {
            Ok(0) => return Err(Problem::Saw("splice: the end".to_owned())),
            Ok(count) => moved += count,
            Err(errno) => {
                return Err(Problem::Saw(format!("splice: {errno} while {left} bytes wait")));
            }
        }
    }
    let mut buffer = vec![0; SIZE];
    let count = nix::unistd::read(&out, &mut buffer).needed("read from a pipe")?;
    if count < SIZE {
        return Err(Problem::Saw(format!("splice: {count} of {SIZE} bytes")));
    }
    compare(&buffer, 0)
}

/// First as everybody, then without copying: what is sent so is read where the sender keeps it, and
/// the sender must be told when that is over.
pub(super) fn zero_copy(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = Link::open(rig, deadline)?;
    send(&link.client, 0, SIZE, deadline)?;
    set_option(link.client.as_fd(), libc::SO_ZEROCOPY, 1).needed("SO_ZEROCOPY")?;
    let bytes = stretch(SIZE, CHUNK);
    let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
    let sent = nix::sys::socket::send(link.client.as_raw_fd(), &bytes, flags);
    let sent = sent.seen("send(MSG_ZEROCOPY)")?;
    receive(&link.server, 0, SIZE + sent, deadline)?;
    link.redirected(rig, SIZE as u64)?;
    completion(&link.client, deadline)
}

/// Waits for the notice in the socket's error queue.
fn completion(socket: &TcpStream, deadline: Deadline) -> Result<(), Problem> {
    /// `SO_EE_ORIGIN_ZEROCOPY` (`include/uapi/linux/errqueue.h`).
    const ZEROCOPY: u8 = 5;
    loop {
        let mut notices = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
        let mut data = [0; 8];
        let mut data = [IoSliceMut::new(&mut data)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        match recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut notices), flags) {
            Ok(message) => {
                let mut notices = message.cmsgs().needed("recvmsg(MSG_ERRQUEUE)")?;
                let told = |notice| {
                    matches!(notice, ControlMessageOwned::Ipv4RecvErr(error, _)
                        if error.ee_origin == ZEROCOPY && error.ee_errno == 0)
                };
                if notices.any(told) {
                    return Ok(());
                }
            }
            // Errors are always waited for.
            Err(Errno::EAGAIN) => {
                if !wait(socket, PollFlags::empty(), deadline)? {
                    return Err(Problem::Saw("the sender was not told".to_owned()));
                }
            }
            Err(errno) => return Err(Problem::Saw(format!("recvmsg(MSG_ERRQUEUE): {errno}"))),
        }
    }
}
