//! `mesh-load serve`: one thread and epoll. Each connection is greeted with the server's name
//! and the peer it saw, and what it sends is sent back; or it is answered in HTTP; or each line,
//! or datagram, is answered with `<name> <peer> <what was sent>`.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::Context as _;
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Mode;

/// Options of `mesh-load serve`.
#[derive(Debug, Args)]
pub struct Options {
    /// `name=address:port`; may be repeated, one process then plays several backends.
    #[arg(long = "listen", required = true, value_parser = parse_listen)]
    listen: Vec<(String, SocketAddr)>,
    /// What to say.
    #[arg(long, value_enum, default_value_t = Mode::Greet)]
    mode: Mode,
}

fn parse_listen(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("expected name=address:port".to_owned())?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((name.to_owned(), address))
}

/// What a name stands behind.
enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

struct Conn {
    stream: TcpStream,
    /// Answer to a request of `Mode::Http`; what stands before each line of `Mode::Ping`.
    answer: String,
    /// Bytes of an unfinished request.
    request: Vec<u8>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut listeners = Vec::new();
    for (name, address) in &options.listen {
        let token = u64::try_from(listeners.len())?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        let listener = listen(&epoll, event, *address, options.mode)
            .with_context(|| format!("listen {address}"))?;
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
            if let Some((name, Listener::Udp(socket))) = listener {
                answer_datagrams(name, socket);
            } else if let Some((name, Listener::Tcp(listener))) = listener {
                while let Ok((stream, peer)) = listener.accept() {
                    let hello = format!("{name} {peer}");
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

fn listen(
    epoll: &Epoll,
    event: EpollEvent,
    address: SocketAddr,
    mode: Mode,
) -> anyhow::Result<Listener> {
    if mode.is_udp() {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        epoll.add(&socket, event)?;
        return Ok(Listener::Udp(socket));
    }
    let listener = TcpListener::bind(address)?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN)?;
    listener.set_nonblocking(true)?;
    epoll.add(&listener, event)?;
    Ok(Listener::Tcp(listener))
}

fn answer_datagrams(name: &str, socket: &UdpSocket) {
    let mut request = [0; 2048];
    loop {
        match socket.recv_from(&mut request) {
            Ok((length, peer)) => {
                let mut answer = format!("{name} {peer} ").into_bytes();
                answer.extend_from_slice(request.get(..length).unwrap_or(&[]));
                // A client that has gone does not want its answer.
                drop(socket.send_to(&answer, peer));
            }
            // The next read says whether there is more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

fn open(mut stream: TcpStream, hello: &str, mode: Mode) -> io::Result<Conn> {
    stream.set_nonblocking(true)?;
    let answer = match mode {
        Mode::Greet => {
            stream.write_all(format!("{hello}\n").as_bytes())?;
            String::new()
        }
        Mode::Ping | Mode::Udp | Mode::UdpSendto => {
            stream.set_nodelay(true)?;
            format!("{hello} ")
        }
        Mode::Http | Mode::Request => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{hello}\n",
            hello.len() + 1
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
        Mode::Ping | Mode::Udp | Mode::UdpSendto => {
            conn.request.extend_from_slice(read);
            while let Some(end) = conn.request.iter().position(|byte| *byte == b'\n') {
                let mut answer = conn.answer.clone().into_bytes();
                answer.extend(conn.request.drain(..=end));
                conn.stream.write_all(&answer)?;
            }
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
