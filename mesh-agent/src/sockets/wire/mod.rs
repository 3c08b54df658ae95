//! Requests to and replies of `NETLINK_SOCK_DIAG` as bytes (`sock_diag(7)`,
//! `include/uapi/linux/inet_diag.h`). Pure; any bytes are survived.

mod attribute;
#[cfg(test)]
pub(super) mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use mesh_api::model::Protocol;

use self::attribute::{attribute, find};

/// States in which a socket has a peer to which data may still go, a bit each. A connected
/// datagram socket is "established".
const fn states(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => State::bits(&[
            State::ESTABLISHED,
            State::SYN_SENT,
            State::FIN_WAIT1,
            State::FIN_WAIT2,
            State::CLOSE_WAIT,
            State::LAST_ACK,
            State::CLOSING,
        ]),
        Protocol::Udp => State::bits(&[State::ESTABLISHED]),
    }
}

/// Address family of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    /// Also of sockets that talk IPv4 through mapped addresses.
    V6,
}

impl Family {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

/// State of a socket, by the kernel's number (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u8);

impl State {
    /// Established; of datagrams: connected.
    pub const ESTABLISHED: Self = Self(1);
    /// Connecting.
    pub const SYN_SENT: Self = Self(2);
    /// Closed here, not acknowledged.
    pub const FIN_WAIT1: Self = Self(4);
    /// Closed here, may still receive.
    pub const FIN_WAIT2: Self = Self(5);
    /// Closed there, may still send.
    pub const CLOSE_WAIT: Self = Self(8);
    /// Closed there and here.
    pub const LAST_ACK: Self = Self(9);
    /// Closed here and there.
    pub const CLOSING: Self = Self(11);

    const fn bits(mut states: &[Self]) -> u32 {
        let mut bits = 0;
        while let [Self(number), rest @ ..] = states {
            bits |= 1 << *number;
            states = rest;
        }
        bits
    }
}

/// A socket with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What the programs know it by (`bpf_get_socket_cookie`).
    pub cookie: u64,
    /// Transport.
    pub protocol: Protocol,
    /// State.
    pub state: State,
    /// Own address; mapped ones as IPv4.
    pub local: SocketAddr,
    /// The peer's; mapped ones as IPv4. Scopes are left out.
    pub remote: SocketAddr,
    /// What the asked-for socket storage holds for it; empty where nothing.
    pub storage: Vec<u8>,
    /// Number of the file that processes hold it by; 0: none does (any more, or yet).
    pub inode: u32,
    /// What it has carried, where that was asked for.
    pub carried: Carried,
    /// Whether it has an upper layer protocol, such as kernel TLS (told to `CAP_NET_ADMIN`, Linux 5.4).
    pub upper_layer: bool,
    /// Family and `inet_diag_sockid` as the kernel wrote them, to name the socket to it again.
    family: u8,
    id: [u8; SOCKID],
}

/// What TCP has carried on a socket (`struct tcp_info`, Linux 4.6), without what sockmap has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Payload bytes that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Segments with data, sent.
    pub segments_out: u32,
    /// Segments with data, received.
    pub segments_in: u32,
}

const HEADER: usize = 16;
const SOCKID: usize = 48;
const MESSAGE: usize = 72;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;

/// What a dump tells of each socket beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Nothing.
    None,
    /// What the socket storage map of this descriptor holds for it.
    Storage(RawFd),
    /// What TCP has carried.
    Carried,
}

/// Asks for all sockets of a family and transport that pass the filter (an empty one lets all).
pub(super) fn dump(
    family: Family,
    protocol: Protocol,
    filter: &[u8],
    extra: Extra,
    sequence: u32,
) -> Vec<u8> {
    let extensions = if extra == Extra::Carried { 1 << (INET_DIAG_INFO - 1) } else { 0 };
    let mut body = request(family.number(), protocol, extensions, &[0; SOCKID]);
    if !filter.is_empty() {
        body.extend(attribute(INET_DIAG_REQ_BYTECODE, filter));
    }
    if let Extra::Storage(map) = extra {
        let map = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map.to_ne_bytes());
        body.extend(attribute(INET_DIAG_REQ_SK_BPF_STORAGES, &map));
    }
    message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence, &body)
}

/// Asks to destroy exactly this socket: its cookie is part of the name.
pub(super) fn destroy(socket: &Socket, sequence: u32) -> Vec<u8> {
    let body = request(socket.family, socket.protocol, 0, &socket.id);
    message(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, sequence, &body)
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, protocol: Protocol, extensions: u8, id: &[u8; SOCKID]) -> Vec<u8> {
    let mut bytes = vec![family, protocol.number(), extensions, 0];
    bytes.extend(states(protocol).to_ne_bytes());
    bytes.extend(id);
    bytes
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The sender's port: the kernel fills it in.
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// A message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A socket of a dump.
    Socket(Box<Socket>),
    /// The dump has ended, or the request has been carried out or refused: an errno, 0 for none.
    End { sequence: u32, errno: i32 },
    /// Not understood.
    Other,
}

/// The messages in a datagram of the kernel, as replies about `protocol`. A truncated message
/// ends it.
pub(super) fn replies(datagram: &[u8], protocol: Protocol) -> impl Iterator<Item = Reply> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
            let whole = rest.get(..length)?;
            // Each begins at a multiple of four.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            let kind = u16::from_ne_bytes(*whole.get(4..)?.first_chunk()?);
            let sequence = u32::from_ne_bytes(*whole.get(8..)?.first_chunk()?);
            let body = whole.get(HEADER..)?;
            return Some(match kind {
                NLMSG_NOOP => continue,
                NLMSG_ERROR | NLMSG_DONE => {
                    let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                    Reply::End { sequence, errno: code.saturating_neg() }
                }
                SOCK_DIAG_BY_FAMILY => {
                    socket(body, protocol).map_or(Reply::Other, |it| Reply::Socket(Box::new(it)))
                }
                _ => Reply::Other,
            });
        }
    })
}

/// `struct inet_diag_msg`.
fn socket(body: &[u8], protocol: Protocol) -> Option<Socket> {
    let (body, attributes) = body.split_first_chunk::<MESSAGE>()?;
    let [family, state, ..] = *body;
    let storage = find(attributes, INET_DIAG_SK_BPF_STORAGES)
        .and_then(|maps| find(maps, SK_DIAG_BPF_STORAGE))
        .and_then(|map| find(map, SK_DIAG_BPF_STORAGE_MAP_VALUE));
    let id: [u8; SOCKID] = *body.get(4..)?.first_chunk()?;
    let port = |at| Some(u16::from_be_bytes(*id.get(at..)?.first_chunk()?));
    let address = |at| {
        let octets: [u8; 16] = *id.get(at..)?.first_chunk()?;
        let [a, b, c, d, ..] = octets;
        match family {
            2 => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            10 => Some(Ipv6Addr::from(octets).to_canonical()),
            _ => None,
        }
    };
    let half = |at| Some(u64::from(u32::from_ne_bytes(*id.get(at..)?.first_chunk()?)));
    Some(Socket {
        cookie: half(40)? | half(44)? << 32,
        protocol,
        state: State(state),
        local: SocketAddr::new(address(4)?, port(0)?),
        remote: SocketAddr::new(address(20)?, port(2)?),
        storage: storage.unwrap_or_default().to_vec(),
        inode: u32::from_ne_bytes(*body.last_chunk()?),
        carried: find(attributes, INET_DIAG_INFO).and_then(carried).unwrap_or_default(),
        upper_layer: find(attributes, INET_DIAG_ULP_INFO).is_some(),
        family,
        id,
    })
}

/// From the bytes of `struct tcp_info`.
fn carried(info: &[u8]) -> Option<Carried> {
    let long = |at| Some(u64::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let short = |at| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    Some(Carried {
        bytes_acked: long(120)?,
        bytes_received: long(128)?,
        segments_in: short(152)?,
        segments_out: short(156)?,
    })
}
