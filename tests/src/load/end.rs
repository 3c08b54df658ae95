//! `mesh-load end`: one end of a connection, told what to do by lines on standard input, each
//! answered with `ok` and what it led to, or with `error`. Its socket does not block unless it is
//! told so.

use std::io::{self, BufRead as _, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, sendto, socket,
};

use super::cookie::cookie;
use super::crowd;
use crate::sys::disconnect;

/// `MSG_FASTOPEN`: connects and sends in one call.
const FAST_OPEN: MsgFlags = MsgFlags::from_bits_retain(0x2000_0000);
/// Longest wait for the other end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct End {
    listener: Option<TcpListener>,
    stream: Option<TcpStream>,
}

/// Obeys until standard input closes.
pub(super) fn run() -> anyhow::Result<()> {
    let mut end = End::default();
    for line in io::stdin().lock().lines() {
        let answer = match end.obey(&line?) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("error {error:#}"),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

impl End {
    fn obey(&mut self, line: &str) -> anyhow::Result<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "listen" => {
                let listener = TcpListener::bind(rest.parse::<SocketAddr>()?)?;
                listener.set_nonblocking(true)?;
                self.listener = Some(listener);
            }
            "accept" => {
                let listener = self.listener.as_ref().context("does not listen")?;
                let (stream, _) = once_ready(listener, PollFlags::POLLIN, || listener.accept())?;
                self.take(stream)?;
            }
            "connect" => {
                self.take(TcpStream::connect(rest.parse::<SocketAddr>()?)?)?;
                return Ok(cookie(self.stream()?)?.to_string());
            }
            "open" => {
                let (to, text) = rest.split_once(' ').context("an address and a text")?;
                let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
                let to = SockaddrIn::from(to.parse::<SocketAddrV4>()?);
                let sent = sendto(made.as_raw_fd(), text.as_bytes(), &to, FAST_OPEN)?;
                ensure!(sent == text.len(), "{sent} bytes were sent");
                self.take(TcpStream::from(made))?;
                return Ok(cookie(self.stream()?)?.to_string());
            }
            "reconnect" => {
                let stream = self.stream()?;
                disconnect(stream.as_fd())?;
                stream.set_nonblocking(false)?;
                connect(stream.as_raw_fd(), &SockaddrIn::from(rest.parse::<SocketAddrV4>()?))?;
                stream.set_nonblocking(true)?;
            }
            "block" => self.stream()?.set_nonblocking(false)?,
            "send" => self.send(rest.as_bytes())?,
            "receive" => return self.receive(rest.parse()?),
            "edges" => self.receive_by_edges(rest.parse()?)?,
            "crowd" => {
                let (bytes, message) = rest.split_once(' ').context("two numbers")?;
                crowd::run(self.stream()?, bytes.parse()?, message.parse()?)?;
            }
            "shutdown" => self.stream()?.shutdown(Shutdown::Write)?,
            "close" => self.stream = None,
            _ => bail!("unknown"),
        }
        Ok(String::new())
    }

    fn take(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn stream(&self) -> anyhow::Result<&TcpStream> {
        self.stream.as_ref().context("no connection")
    }

    fn send(&self, mut bytes: &[u8]) -> anyhow::Result<()> {
        let mut stream = self.stream()?;
        while !bytes.is_empty() {
            let sent = once_ready(stream, PollFlags::POLLOUT, || stream.write(bytes))?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn receive(&self, bytes: usize) -> anyhow::Result<String> {
        let mut stream = self.stream()?;
        let mut buffer = vec![0; bytes];
        let mut length = 0;
        while length < bytes {
            let room = buffer.get_mut(length..).unwrap_or_default();
            let read = once_ready(stream, PollFlags::POLLIN, || stream.read(room))?;
            if read == 0 {
                break;
            }
            length += read;
        }
        buffer.truncate(length);
        Ok(String::from_utf8(buffer)?)
    }
}

impl End {
    /// Reads as event loops may that save calls: an event, reads until one gives less than it could,
    /// the next event.
    fn receive_by_edges(&self, bytes: usize) -> anyhow::Result<()> {
        let mut stream = self.stream()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        let mut buffer = vec![0; 8 << 10];
        let mut all = 0;
        while all < bytes {
            let events =
                epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::try_from(PATIENCE)?)?;
            ensure!(events > 0, "no event after {all} of {bytes} bytes");
            loop {
                let count = match stream.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    outcome => outcome?,
                };
                ensure!(count > 0, "the stream ends after {all} of {bytes} bytes");
                all += count;
                if count < buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Does it as soon as it can be done.
pub(super) fn once_ready<T>(
    socket: &impl AsFd,
    what: PollFlags,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return Ok(outcome?),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(socket.as_fd(), what)];
        if left.is_zero() || poll(&mut fds, PollTimeout::try_from(left)?)? == 0 {
            bail!("nothing happens");
        }
    }
}
