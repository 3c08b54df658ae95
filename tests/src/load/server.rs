//! `mesh-load serve`: one thread and epoll. Each connection is greeted with the server's name
//! and the peer it saw, and what it sends is sent back; or it is answered in HTTP.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};

use anyhow::Context as _;
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Mode;

/// Options of `mesh-load serve`.
#[derive(Debug, Args)]
pub struct Options {
    /// `name=address:port`; may be repeated, one process then plays several backends.
    #[arg(long = "listen", required = true, value_parser = parse_listen)]
    listen: Vec<(String, SocketAddrV4)>,
    /// What to say.
    #[arg(long, value_enum, default_value_t = Mode::Greet)]
    mode: Mode,
}

fn parse_listen(text: &str) -> Result<(String, SocketAddrV4), String> {
    let (name, address) = text.split_once('=').ok_or("expected name=address:port".to_owned())?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((name.to_owned(), address))
}

struct Conn {
    stream: TcpStream,
    /// Answer to a request of `Mode::Http`.
    answer: String,
    /// Bytes of an unfinished request.
    request: Vec<u8>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut listeners = Vec::new();
    for (name, address) in &options.listen {
        let listener = TcpListener::bind(address).with_context(|| format!("listen {address}"))?;
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN)?;
        listener.set_nonblocking(true)?;
        let token = u64::try_from(listeners.len())?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        listeners.push((name, listener));
    }
    {
        let mut out = io::stdout().lock();
        writeln!(out, "ready")?;
        out.flush()?;
    }

    let mut conns: HashMap<u64, Conn> = HashMap::new();
    let mut next = u64::try_from(listeners.len())?;
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(ready) {
            let token = event.data();
            let listener = usize::try_from(token).ok().and_then(|index| listeners.get(index));
            if let Some((name, listener)) = listener {
                while let Ok((stream, peer)) = listener.accept() {
                    let hello = format!("{name} {peer}\n");
                    if let Ok(conn) = open(stream, &hello, options.mode) {
                        let interest = EpollEvent::new(EpollFlags::EPOLLIN, next);
                        if epoll.add(&conn.stream, interest).is_ok() {
                            conns.insert(next, conn);
                            next += 1;
                        }
                    }
                }
            } else if let Some(conn) = conns.get_mut(&token)
                && !matches!(serve(conn, options.mode), Ok(true))
            {
                conns.remove(&token);
            }
        }
    }
}

fn open(mut stream: TcpStream, hello: &str, mode: Mode) -> io::Result<Conn> {
    stream.set_nonblocking(true)?;
    let answer = match mode {
        Mode::Greet => {
            stream.write_all(hello.as_bytes())?;
            String::new()
        }
        Mode::Http | Mode::Request => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{hello}",
            hello.len()
        ),
    };
    Ok(Conn { stream, answer, request: Vec::new() })
}

/// Handles what has arrived; false when the connection is to be closed.
fn serve(conn: &mut Conn, mode: Mode) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    let read = match conn.stream.read(&mut bytes) {
        Ok(0) => return Ok(false),
        Ok(read) => bytes.get(..read).unwrap_or(&[]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error),
    };
    match mode {
        Mode::Greet => {
            conn.stream.write_all(read)?;
            Ok(true)
        }
        Mode::Http | Mode::Request => {
            conn.request.extend_from_slice(read);
            if !conn.request.ends_with(b"\r\n\r\n") {
                return Ok(true);
            }
            conn.stream.write_all(conn.answer.as_bytes())?;
            let text = String::from_utf8_lossy(&conn.request).to_ascii_lowercase();
            conn.request.clear();
            Ok(!text.contains("connection: close"))
        }
    }
}
