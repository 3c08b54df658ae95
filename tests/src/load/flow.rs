//! `mesh-load flow`: sockets that stay open, each exchanging again and again. A number in every
//! request tells loss, repetition and mix-ups apart. A socket that fails is reported and
//! replaced; what the new one reaches shows how a client gets over the loss of its backend.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::lines::{Lines, Stamp};
use super::{Mode, datagram, monotonic_ns, wire};

/// Options of `mesh-load flow`.
#[derive(Debug, Args)]
pub struct Options {
    /// Addresses. A socket without `connect()` asks all of them in turn; of the others, each
    /// has one address.
    #[arg(long = "target", required = true)]
    targets: Vec<SocketAddr>,
    /// How: `ping`, `udp` or `udp-sendto`.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Sockets.
    #[arg(long, default_value = "1")]
    flows: NonZeroU32,
    /// Stop after so many exchanges of each socket; without it, when standard input closes.
    #[arg(long)]
    count: Option<u64>,
    /// Microseconds that each rests between exchanges.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// Milliseconds until a datagram without an answer is given up.
    #[arg(long, default_value_t = 5_000)]
    patience_ms: u64,
}

/// A socket that lasts.
enum Socket {
    Tcp(TcpStream),
    Udp { socket: UdpSocket, connected: bool },
}

/// Rest before a failed socket is replaced.
const RECONNECT_PAUSE: Duration = Duration::from_millis(1);

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    if !matches!(options.mode, Mode::Ping | Mode::Udp | Mode::UdpSendto) {
        bail!("--mode {} does not last: use ping, udp or udp-sendto", options.mode.as_str());
    }
    let lines = Lines::default();
    let until_eof = options.count.is_none();
    lines.run(options.flows.get(), until_eof, |flow| keep(options, &lines, flow))?;
    Ok(())
}

/// The life of one flow.
fn keep(options: &Options, lines: &Lines, flow: u32) {
    let mut socket: Option<Socket> = None;
    let mut sequence = 0_u64;
    while !lines.stopped() && options.count.is_none_or(|count| sequence < count) {
        let Some((index, target)) = target_of(options, flow, sequence) else {
            return;
        };
        sequence += 1;
        let start_ns = monotonic_ns();
        let outcome = match socket.as_mut() {
            Some(open) => exchange(open, target, options, flow, sequence),
            None => open(options.mode, target).and_then(|mut open| {
                let outcome = exchange(&mut open, target, options, flow, sequence);
                socket = Some(open);
                outcome
            }),
        };
        let broken = outcome.as_ref().is_err_and(|error| breaks(error, options.mode));
        let duration_ns = monotonic_ns().saturating_sub(start_ns);
        lines.add(Stamp { start_ns, duration_ns, flow, target: index }, outcome);
        if broken {
            socket = None;
            thread::sleep(RECONNECT_PAUSE);
        } else if options.pause_us > 0 {
            thread::sleep(Duration::from_micros(options.pause_us));
        }
    }
}

/// The address of this exchange, and its number.
fn target_of(options: &Options, flow: u32, sequence: u64) -> Option<(usize, SocketAddr)> {
    let turn = if options.mode == Mode::UdpSendto { sequence } else { u64::from(flow) };
    let index = turn.checked_rem(u64::try_from(options.targets.len()).ok()?)?;
    let index = usize::try_from(index).ok()?;
    Some((index, *options.targets.get(index)?))
}

fn open(mode: Mode, target: SocketAddr) -> io::Result<Socket> {
    if mode == Mode::Ping {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        return Ok(Socket::Tcp(stream));
    }
    let connected = mode == Mode::Udp;
    Ok(Socket::Udp { socket: datagram::open(target, connected)?, connected })
}

fn exchange(
    open: &mut Socket,
    target: SocketAddr,
    options: &Options,
    flow: u32,
    sequence: u64,
) -> io::Result<wire::Exchange> {
    match open {
        Socket::Tcp(stream) => {
            let exchange = wire::ping(stream, &format!("{flow} {sequence}\n"))?;
            wire::check_peer(stream, target)?;
            Ok(exchange)
        }
        Socket::Udp { socket, connected } => {
            let patience = Duration::from_millis(options.patience_ms);
            datagram::ask(socket, target, *connected, &format!("{flow} {sequence}"), patience)
        }
    }
}

/// Is the socket of no further use? A datagram that was lost or is of another exchange says
/// nothing about the next, and a socket without a peer outlives any of them.
fn breaks(error: &io::Error, mode: Mode) -> bool {
    let waited = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let unusable = error.get_ref().is_some();
    match mode {
        Mode::UdpSendto => false,
        Mode::Udp => !(waited || unusable),
        Mode::Ping | Mode::Greet | Mode::Http | Mode::Request => true,
    }
}
