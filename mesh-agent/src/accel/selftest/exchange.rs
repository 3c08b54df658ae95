//! Small messages back and forth.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use mesh_common::accel::Path;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::socket::{Link, beside, compare, receive, send, stretch};
use super::{Blame as _, Deadline, Problem};
use crate::bpf::accel::Rig;

/// Every byte goes past TCP, and is counted.
pub(super) fn redirect(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const ROUNDS: usize = 50;
    const SIZE: usize = 64;
    let link = Link::open(rig, deadline)?;
    for round in 0..ROUNDS {
        let at = round * SIZE;
        send(&link.client, at, SIZE, deadline)?;
        receive(&link.server, at, SIZE, deadline)?;
        send(&link.server, at, SIZE, deadline)?;
        receive(&link.client, at, SIZE, deadline)?;
    }
    let pair = link.pair(rig)?;
    for (direction, path) in [(pair.sent, pair.sent_path), (pair.received, pair.received_path)] {
        let expected = (ROUNDS * SIZE) as u64;
        let (bytes, messages) = (direction.bytes, direction.messages);
        if bytes != expected || messages as usize != ROUNDS || path != Path::REDIRECTED {
            return Err(Problem::Saw(format!(
                "{bytes} bytes of {messages} messages were redirected, where {expected} bytes of \
                 {ROUNDS} messages were sent each way"
            )));
        }
    }
    Ok(())
}

/// Both ends sleep in epoll, edge-triggered, and are woken by every message.
pub(super) fn epoll_reader(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    /// From less than a cache line to more than a page.
    const SIZES: [usize; 5] = [1, 64, 1_000, 4_096, 40_000];
    const ROUNDS: usize = 20;
    let sizes = || (0..ROUNDS).flat_map(|_| SIZES);
    let link = Link::open(rig, deadline)?;
    let server = || {
        let mut sleeper = Sleeper::new(&link.server)?;
        sizes().try_for_each(|size| {
            sleeper.receive(size, deadline)?;
            send(&link.server, sleeper.at - size, size, deadline)
        })
    };
    beside(server, || {
        let mut sleeper = Sleeper::new(&link.client)?;
        for (round, size) in sizes().enumerate() {
            // Now and then, the other end is surely asleep.
            if round % 20 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            let bytes = stretch(sleeper.at, size);
            (&link.client).write_all(&bytes).seen("send")?;
            sleeper.receive(size, deadline)?;
        }
        Ok(())
    })?;
    link.redirected(rig, sizes().sum::<usize>() as u64)
}

/// A reader as event loops are: it reads until there is nothing, and sleeps until it is told of more.
struct Sleeper<'a> {
    epoll: Epoll,
    socket: &'a TcpStream,
    /// Bytes read.
    at: usize,
}

impl<'a> Sleeper<'a> {
    fn new(socket: &'a TcpStream) -> Result<Self, Problem> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).needed("epoll_create1")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(socket.as_fd(), event).needed("epoll_ctl")?;
        Ok(Self { epoll, socket, at: 0 })
    }

    fn receive(&mut self, size: usize, deadline: Deadline) -> Result<(), Problem> {
        let end = self.at + size;
        let mut buffer = vec![0; 16 << 10];
        let mut socket = self.socket;
        while self.at < end {
            match socket.read(&mut buffer) {
                Ok(0) => return Err(Problem::Saw("the stream ended early".to_owned())),
                Ok(count) => {
                    compare(buffer.get(..count).unwrap_or_default(), self.at)?;
                    self.at += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.sleep(deadline)?,
                Err(error) => return Err(Problem::Saw(format!("recv: {error}"))),
            }
        }
        Ok(())
    }

    fn sleep(&self, deadline: Deadline) -> Result<(), Problem> {
        let timeout = EpollTimeout::try_from(deadline.left()).needed("epoll_wait")?;
        match self.epoll.wait(&mut [EpollEvent::empty()], timeout) {
            Ok(0) => {
                let at = self.at;
                Err(Problem::Saw(format!("a reader in epoll was not woken after {at} bytes")))
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(Problem::CouldNot(format!("epoll_wait: {errno}"))),
        }
    }
}
