//! `mesh-load serve`: one thread and epoll. Each connection is greeted with the server's name
//! and the peer it saw, and what it sends is sent back; or it is answered in HTTP; or each line,
//! or datagram, is answered with `<name> <peer> <what was sent>`.

mod conn;
mod control;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::Context as _;
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use self::conn::Conn;
use self::control::Control;
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
    /// Obey lines on standard input: `close`, `listen`, `flap MS`, `status NAME CODE`, `count`.
    #[arg(long)]
    control: bool,
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

/// One `--listen`.
struct Door {
    name: String,
    address: SocketAddr,
    /// None while it is closed.
    listener: Option<Listener>,
    /// HTTP status of its answers.
    status: u16,
}

/// Connections behind all doors.
#[derive(Default)]
struct Count {
    /// Accepted and not closed, and the most that ever were.
    open: u64,
    most: u64,
    accepted: u64,
}

struct Server {
    epoll: Epoll,
    mode: Mode,
    /// The token of a door is its index; connections follow.
    doors: Vec<Door>,
    conns: HashMap<u64, Conn>,
    next: u64,
    count: Count,
}

/// Token of standard input.
const CONTROL: u64 = u64::MAX;

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut server = Server::open(options)?;
    let mut control = if options.control { Some(Control::open(&server.epoll)?) } else { None };
    say("ready")?;
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let timeout = control.as_ref().map_or(EpollTimeout::NONE, Control::timeout);
        let ready = match server.epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(ready) {
            match (event.data(), &mut control) {
                (CONTROL, Some(control)) => {
                    if !control.read(&mut server)? {
                        return Ok(());
                    }
                }
                (token, _) => server.handle(token),
            }
        }
        if let Some(control) = &mut control {
            control.tick(&mut server)?;
        }
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

impl Server {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let door = |(name, address): &(String, SocketAddr)| Door {
            name: name.clone(),
            address: *address,
            listener: None,
            status: 200,
        };
        let doors: Vec<Door> = options.listen.iter().map(door).collect();
        let next = u64::try_from(doors.len())?;
        let mut server = Self {
            epoll,
            mode: options.mode,
            doors,
            conns: HashMap::new(),
            next,
            count: Count::default(),
        };
        server.listen()?;
        Ok(server)
    }

    /// Opens every door that is closed.
    fn listen(&mut self) -> anyhow::Result<()> {
        for (token, door) in (0..).zip(&mut self.doors) {
            if door.listener.is_none() {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
                let listener = listen(&self.epoll, event, door.address, self.mode)
                    .with_context(|| format!("listen {}", door.address))?;
                door.listener = Some(listener);
            }
        }
        Ok(())
    }

    /// Closes every door. Connections that are open go on.
    fn close(&mut self) {
        for door in &mut self.doors {
            door.listener = None;
        }
    }

    fn is_open(&self) -> bool {
        self.doors.iter().all(|door| door.listener.is_some())
    }

    fn handle(&mut self, token: u64) {
        let index = usize::try_from(token).unwrap_or(usize::MAX);
        if let Some(door) = self.doors.get(index) {
            match &door.listener {
                Some(Listener::Udp(socket)) => conn::answer_datagrams(&door.name, socket),
                Some(Listener::Tcp(_)) => self.accept(index),
                // It was closed after the event.
                None => {}
            }
        } else if let Some(conn) = self.conns.get_mut(&token)
            && !matches!(conn.serve(self.mode), Ok(true))
        {
            // Counted before the client can see the end: no more are open than are counted.
            self.count.open -= 1;
            self.conns.remove(&token);
        }
    }

    fn accept(&mut self, index: usize) {
        let Some(door) = self.doors.get(index) else { return };
        let Some(Listener::Tcp(listener)) = &door.listener else { return };
        while let Ok((stream, peer)) = listener.accept() {
            self.count.accepted += 1;
            let hello = format!("{} {peer}", door.name);
            let Ok(conn) = Conn::open(stream, &hello, self.mode, door.status) else { continue };
            let interest = EpollEvent::new(EpollFlags::EPOLLIN, self.next);
            if self.epoll.add(conn.stream(), interest).is_ok() {
                self.conns.insert(self.next, conn);
                self.next += 1;
                self.count.open += 1;
                self.count.most = self.count.most.max(self.count.open);
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
