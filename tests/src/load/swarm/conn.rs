//! What is left to be done on a connection, and the loop that tells when it can go on.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::stream::Stream;

/// Most bytes of a read or a write.
const CHUNK: usize = 256 << 10;

/// What is left to be done before it is the other end's turn.
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) to_write: usize,
    pub(super) to_read: usize,
    token: u64,
    /// The loop tells when there is room to write.
    armed: bool,
}

impl Conn {
    pub(super) const fn new(stream: Stream, token: u64) -> Self {
        Self { stream, to_write: 0, to_read: 0, token, armed: false }
    }

    /// Goes on as far as possible; true once everything is written and read.
    pub(super) fn go_on(&mut self, around: &mut Loop) -> io::Result<bool> {
        Ok(self.write(around)? && self.read(&mut around.buffer)?)
    }

    /// True once everything is written.
    pub(super) fn write(&mut self, around: &mut Loop) -> io::Result<bool> {
        while self.to_write > 0 {
            let most = self.to_write.min(around.buffer.len());
            match self.stream.write(around.buffer.get(..most).unwrap_or_default()) {
                Ok(written) => self.to_write -= written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.arm(around, true)?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.arm(around, false)?;
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        while self.to_read > 0 {
            let most = self.to_read.min(buffer.len());
            match self.stream.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.to_read -= read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Asks to be told of room only while there is none, as most programs do.
    fn arm(&mut self, around: &Loop, armed: bool) -> nix::Result<()> {
        if self.armed != armed {
            self.armed = armed;
            let out = if armed { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(READ | out, self.token);
            around.epoll.modify(&self.stream, &mut event)?;
        }
        Ok(())
    }
}

/// Told once of every change.
const READ: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

/// Connections that are waited for, and room for what they read and write.
pub(super) struct Loop {
    epoll: Epoll,
    events: [EpollEvent; 64],
    pub(super) buffer: Vec<u8>,
}

impl Loop {
    pub(super) fn new() -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: [EpollEvent::empty(); 64], buffer: vec![0; CHUNK] })
    }

    pub(super) fn add(&self, socket: &impl AsFd, token: u64) -> nix::Result<()> {
        self.epoll.add(socket, EpollEvent::new(READ, token))
    }

    /// The tokens of what has changed.
    pub(super) fn wait(&mut self) -> nix::Result<Vec<u64>> {
        let ready = self.epoll.wait(&mut self.events, EpollTimeout::NONE)?;
        Ok(self.events.iter().take(ready).map(EpollEvent::data).collect())
    }
}
