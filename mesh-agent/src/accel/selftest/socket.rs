//! A connection between two sockets of the agent's own, and what is sent over it: bytes that tell
//! their place, so that one that is lost, doubled or early is seen.

use std::io::{ErrorKind, Read as _, Write as _};
use std::iter;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use mesh_common::accel::Pair;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Blame as _, Deadline, Problem};
use crate::bpf::accel::Rig;

/// Bytes at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// A connection, not blocking on either side.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    /// Its place in the map `pairs`.
    pub(super) place: u32,
}

impl Link {
    /// Connects over loopback, to a port that nobody else is on, and enrols both ends.
    pub(super) fn open(rig: &mut Rig, deadline: Deadline) -> Result<Self, Problem> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).needed("listen on 127.0.0.1")?;
        listener.set_nonblocking(true).needed("listen on 127.0.0.1")?;
        let address = listener.local_addr().needed("listen on 127.0.0.1")?;
        let timeout = deadline.left().max(std::time::Duration::from_millis(1));
        let client = TcpStream::connect_timeout(&address, timeout).needed("connect")?;
        let own = client.local_addr().needed("connect")?;
        let server = loop {
            if !wait(&listener, PollFlags::POLLIN, deadline)? {
                return Err(Problem::CouldNot("accept: nobody came".to_owned()));
            }
            match listener.accept() {
                Ok((server, peer)) if peer == own => break server,
                // Somebody who tries ports.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Problem::CouldNot(format!("accept: {error}"))),
            }
        };
        for socket in [&client, &server] {
            socket.set_nonblocking(true).needed("O_NONBLOCK")?;
            socket.set_nodelay(true).needed("TCP_NODELAY")?;
        }
        let place = rig.enrol(&client, &server).needed("enrol")?;
        Ok(Self { client, server, place })
    }

    /// What the program has counted.
    pub(super) fn pair(&self, rig: &Rig) -> Result<Pair, Problem> {
        rig.pair(self.place).needed("read counters")
    }

    /// That so many bytes from client to server were redirected.
    pub(super) fn redirected(&self, rig: &Rig, bytes: u64) -> Result<(), Problem> {
        let counted = self.pair(rig)?.sent.bytes;
        if counted == bytes {
            return Ok(());
        }
        Err(Problem::Saw(format!("{counted} bytes were redirected where {bytes} were sent")))
    }
}

/// Waits until a descriptor is ready; false where it is not in time.
pub(super) fn wait(
    socket: impl AsFd,
    events: PollFlags,
    deadline: Deadline,
) -> Result<bool, Problem> {
    loop {
        // A little more than is left: who waits is not to turn round in the last millisecond.
        let left = deadline.left().as_millis() + 1;
        let timeout = PollTimeout::try_from(left).needed("poll")?;
        match poll(&mut [PollFd::new(socket.as_fd(), events)], timeout) {
            Ok(ready) => return Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Problem::CouldNot(format!("poll: {errno}"))),
        }
    }
}

/// Every stream is this over and over. A prime: what is lost or doubled is hardly ever a multiple.
const PERIOD: usize = 4_093;
static PATTERN: [u8; PERIOD] = pattern();

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn pattern() -> [u8; PERIOD] {
    let mut bytes = [0; PERIOD];
    let mut at = 0;
    while at < PERIOD {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is meant")]
        let mixed = (at ^ (at >> 5)).wrapping_mul(167) as u8;
        bytes[at] = mixed;
        at += 1;
    }
    bytes
}

/// The bytes of a stretch, in pieces.
fn pieces(from: usize, length: usize) -> impl Iterator<Item = &'static [u8]> {
    let end = from + length;
    let mut at = from;
    iter::from_fn(move || {
        let rest = PATTERN.get(at % PERIOD..)?;
        let piece = rest.get(..rest.len().min(end - at))?;
        at += piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

/// The bytes of a stretch.
pub(super) fn stretch(from: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    pieces(from, length).for_each(|piece| bytes.extend_from_slice(piece));
    bytes
}

/// Sends a stretch, waiting where the socket takes no more.
pub(super) fn send(
    mut socket: &TcpStream,
    from: usize,
    length: usize,
    deadline: Deadline,
) -> Result<(), Problem> {
    let mut sent = 0;
    while sent < length {
        let bytes = stretch(from + sent, CHUNK.min(length - sent));
        match socket.write(&bytes) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait(socket, PollFlags::POLLOUT, deadline)? {
                    return Err(Problem::Saw(format!(
                        "the sender was held back for good after {} bytes",
                        from + sent
                    )));
                }
            }
            Err(error) => return Err(Problem::Saw(format!("send: {error}"))),
        }
    }
    Ok(())
}

/// Receives a stretch, and compares.
pub(super) fn receive(
    mut socket: &TcpStream,
    from: usize,
    length: usize,
    deadline: Deadline,
) -> Result<(), Problem> {
    let mut buffer = vec![0; CHUNK.min(length)];
    let mut received = 0;
    while received < length {
        let most = buffer.len().min(length - received);
        match socket.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => {
                let at = from + received;
                return Err(Problem::Saw(format!("the stream ended after {at} bytes")));
            }
            Ok(count) => {
                compare(buffer.get(..count).unwrap_or_default(), from + received)?;
                received += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait(socket, PollFlags::POLLIN, deadline)? {
                    let at = from + received;
                    return Err(Problem::Saw(format!("the reader was not woken after {at} bytes")));
                }
            }
            Err(error) => return Err(Problem::Saw(format!("recv: {error}"))),
        }
    }
    Ok(())
}

/// That these are the bytes of a place.
pub(super) fn compare(bytes: &[u8], from: usize) -> Result<(), Problem> {
    let mut rest = bytes;
    for piece in pieces(from, bytes.len()) {
        let Some(after) = rest.strip_prefix(piece) else {
            let at = from + bytes.len() - rest.len();
            let wrong = piece.iter().zip(rest).take_while(|(one, other)| one == other).count();
            return Err(Problem::Saw(format!("byte {} was another one", at + wrong)));
        };
        rest = after;
    }
    Ok(())
}

/// That the stream ends here.
pub(super) fn receive_end(mut socket: &TcpStream, deadline: Deadline) -> Result<(), Problem> {
    loop {
        match socket.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(Problem::Saw("a byte too many".to_owned())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait(socket, PollFlags::POLLIN, deadline)? {
                    return Err(Problem::Saw("the end did not come".to_owned()));
                }
            }
            Err(error) => return Err(Problem::Saw(format!("the end: {error}"))),
        }
    }
}

/// Has `reader` work on a thread of its own while `writer` does here. The writer's problem comes
/// first: the reader's may only follow from it.
pub(super) fn beside<T>(
    reader: impl FnOnce() -> Result<(), Problem> + Send,
    writer: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("accel-reader".to_owned());
        let reader = builder.spawn_scoped(scope, reader).needed("start a thread")?;
        let written = writer();
        let read = reader.join().map_err(|_panic| Problem::CouldNot("the reader panicked".into()));
        let written = written?;
        read??;
        Ok(written)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_lost_doubled_or_early_is_seen() {
        let bytes = stretch(10, 20_000);
        assert!(compare(&bytes, 10).is_ok());
        assert_eq!(stretch(10, 5_000), bytes[..5_000]);
        assert_eq!(stretch(9_000, 700), bytes[8_990..9_690]);
        for at in [0, 4_092, 9_999, 18_000] {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            let Err(Problem::Saw(seen)) = compare(&broken, 10) else { panic!("{at}") };
            assert_eq!(seen, format!("byte {} was another one", at + 10));
            for length in [1, 64, 300, 1_000] {
                let (head, tail) = bytes.split_at(at);
                let lost = [head, tail.get(length..).unwrap_or_default()].concat();
                assert!(compare(&lost, 10).is_err(), "{length} lost at {at}");
                let doubled = [head, &tail[..length], tail].concat();
                assert!(compare(&doubled, 10).is_err(), "{length} doubled at {at}");
            }
        }
    }
}
