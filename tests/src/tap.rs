//! What arrives at a backend's interface, whatever happens to it afterwards: every SYN, with the
//! kernel's time of its arrival. Also those that a firewall drops and those that nobody accepts.

use std::collections::HashSet;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::load::monotonic_ns;
use crate::netns::NetNs;
use crate::sys;
use crate::wait::eventually;

/// Room for some ten thousand SYNs between two looks.
const BUFFER: usize = 64 << 20;

/// A SYN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Syn {
    /// When it arrived, on the clock of `monotonic_ns`.
    pub at_ns: u64,
    /// The client's port.
    pub port: u16,
    /// False where the same connection's SYN has arrived before.
    pub first: bool,
}

/// Listens to one port in one namespace.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    /// The kernel stamps packets with the time of day.
    realtime_ahead_ns: u64,
    known: HashSet<(u16, u32)>,
    seen: Vec<Syn>,
}

impl Tap {
    /// Listens from now on. Only packets that arrive are seen, not those that leave.
    pub fn start(netns: &NetNs, port: u16) -> anyhow::Result<Self> {
        let socket = netns.run(|| {
            socket(
                AddressFamily::Packet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthIp,
            )
        })??;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        netns.run(wait_for_stamps)??;
        sys::attach_filter(socket.as_fd(), &mut syns_to(port))?;
        let realtime_ahead_ns = realtime_ahead_ns()?;
        let mut tap = Self { socket, realtime_ahead_ns, known: HashSet::new(), seen: Vec::new() };
        // What came before the filter may be anything.
        tap.drain()?;
        tap.clear();
        Ok(tap)
    }

    /// Every SYN so far.
    pub fn syns(&mut self) -> anyhow::Result<&[Syn]> {
        self.drain()?;
        Ok(&self.seen)
    }

    /// Connections whose first SYN arrived within a span of time.
    pub fn connections(&mut self, from_ns: u64, to_ns: u64) -> anyhow::Result<u64> {
        let syns = self.syns()?.iter();
        let within = syns.filter(|syn| syn.first && (from_ns..to_ns).contains(&syn.at_ns));
        Ok(u64::try_from(within.count())?)
    }

    /// Forgets what has been seen.
    pub fn clear(&mut self) {
        self.known.clear();
        self.seen.clear();
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        let mut packet = [0; 128];
        while let Some((length, stamp)) = receive(self.socket.as_fd(), &mut packet)? {
            let Some((port, sequence)) = packet.get(..length).and_then(port_and_sequence) else {
                continue;
            };
            let at_ns = stamp.saturating_sub(self.realtime_ahead_ns);
            let first = self.known.insert((port, sequence));
            self.seen.push(Syn { at_ns, port, first });
        }
        Ok(())
    }
}

/// A packet's length and its time of day; none where nothing is there.
fn receive(socket: BorrowedFd<'_>, packet: &mut [u8]) -> anyhow::Result<Option<(usize, u64)>> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(packet)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stamp = message.cmsgs()?.find_map(|it| {
        let ControlMessageOwned::ScmTimestampns(stamp) = it else { return None };
        Some(nanoseconds(stamp))
    });
    Ok(Some((message.bytes, stamp.context("a packet without a time")?)))
}

/// The kernel begins to stamp packets some time after it was asked to; until then they get the
/// time at which they are read.
fn wait_for_stamps() -> anyhow::Result<()> {
    const WAIT: Duration = Duration::from_millis(2);
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    setsockopt(&own, sockopt::ReceiveTimestampns, &true)?;
    eventually(|| {
        let look = || -> anyhow::Result<bool> {
            own.send_to(b"when?", own.local_addr()?)?;
            thread::sleep(WAIT);
            let read = nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?);
            let stamp = receive(own.as_fd(), &mut [0; 8])?.context("the packet is lost")?.1;
            Ok(stamp < read)
        };
        match look() {
            Ok(true) => Ok(()),
            Ok(false) => Err("the kernel does not stamp packets".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

/// How far the time of day is ahead of the monotonic clock, read in a moment without interruption.
fn realtime_ahead_ns() -> anyhow::Result<u64> {
    const MOMENT_NS: u64 = 20_000;
    loop {
        let before = monotonic_ns();
        let now = nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?);
        let after = monotonic_ns();
        if after - before < MOMENT_NS {
            return Ok(now.saturating_sub(before));
        }
    }
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

/// The client's port and the sequence number of a TCP packet that begins with its IP header.
fn port_and_sequence(packet: &[u8]) -> Option<(u16, u32)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let tcp = packet.get(header..header + 8)?;
    let (port, rest) = tcp.split_first_chunk::<2>()?;
    let (_, sequence) = rest.split_last_chunk::<4>()?;
    Some((u16::from_be_bytes(*port), u32::from_be_bytes(*sequence)))
}

/// Classic BPF on a packet that begins with its IP header: SYN without ACK, to this port.
fn syns_to(port: u16) -> [libc::sock_filter; 10] {
    // Loads of a byte and of two, at a fixed place and at one behind the header's length.
    const BYTE: u16 = 0x30;
    const BYTE_BEHIND: u16 = 0x50;
    const HALF_BEHIND: u16 = 0x48;
    const HEADER_LENGTH: u16 = 0xb1;
    const AND: u16 = 0x54;
    const JUMP_IF: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    const TCP: u32 = 6;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        line(BYTE, 0, 0, 9),
        line(JUMP_IF, 0, 7, TCP),
        line(HEADER_LENGTH, 0, 0, 0),
        line(HALF_BEHIND, 0, 0, 2),
        line(JUMP_IF, 0, 4, port.into()),
        line(BYTE_BEHIND, 0, 0, 13),
        line(AND, 0, 0, SYN_OR_ACK),
        line(JUMP_IF, 0, 1, SYN),
        line(RETURN, 0, 0, 128),
        line(RETURN, 0, 0, 0),
    ]
}
