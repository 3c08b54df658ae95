//! UDP as a client uses it: with `connect()` (the kernel keeps the peer) and without (each
//! datagram names it). Both check that the reply is from the address that was asked, as every
//! careful resolver does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::wire::{Exchange, first_word};

/// Longest datagram that is exchanged here.
const ROOM: usize = 2_048;

/// A reply that cannot be used; the words are what reports show.
pub(super) const WRONG_SOURCE: &str = "wrong-source";
pub(super) const WRONG_PEER: &str = "wrong-peer";
pub(super) const STALE: &str = "stale";

/// A socket of the family of `target`, connected to it or not.
pub(super) fn open(target: SocketAddr, connected: bool) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let socket = UdpSocket::bind(any)?;
    if connected {
        socket.connect(target)?;
    }
    Ok(socket)
}

/// Sends `request` and waits for the reply that repeats it. A reply to an earlier request is
/// read past and makes this exchange an error (`STALE`); the next one is in step again.
pub(super) fn ask(
    socket: &UdpSocket,
    target: SocketAddr,
    connected: bool,
    request: &str,
    patience: Duration,
) -> io::Result<Exchange> {
    let sent = if connected {
        socket.send(request.as_bytes())?
    } else {
        socket.send_to(request.as_bytes(), target)?
    };
    let deadline = Instant::now() + patience;
    let mut stale = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut answer = [0; ROOM];
        let (length, source) = if connected {
            (socket.recv(&mut answer)?, socket.peer_addr()?)
        } else {
            socket.recv_from(&mut answer)?
        };
        let answer = answer.get(..length).unwrap_or(&[]);
        if !answer.ends_with(request.as_bytes()) {
            stale = true;
            continue;
        }
        if !same(source, target) {
            return Err(io::Error::other(if connected { WRONG_PEER } else { WRONG_SOURCE }));
        }
        if stale {
            return Err(io::Error::other(STALE));
        }
        return Ok(Exchange {
            name: first_word(answer),
            sent: u64::try_from(sent).unwrap_or(0),
            received: u64::try_from(length).unwrap_or(0),
        });
    }
}

/// Address and port alone: the kernel's scope and flow label are no part of a name.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}
