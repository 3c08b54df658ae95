//! A conversation with the socket diagnostics of one network namespace.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use mesh_api::model::Protocol;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::filter::Which;
use super::wire::{Extra, Family, Reply, Socket, destroy, dump};
use super::{filter, wire};
use crate::netns::{self, Namespace, NetnsError};

/// What can go wrong with socket diagnostics.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// No netlink socket.
    #[error("cannot open NETLINK_SOCK_DIAG: {0}; it needs a kernel with CONFIG_INET_DIAG")]
    Open(#[source] io::Error),
    /// The request could not be sent, or the answer not be received.
    #[error("{call} on NETLINK_SOCK_DIAG failed: {source}")]
    Talk {
        /// Name of the system call.
        call: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to list sockets.
    #[error(
        "the kernel does not list {protocol:?} sockets: {source}; it needs CONFIG_INET_TCP_DIAG \
         and CONFIG_INET_UDP_DIAG, and the agent CAP_BPF"
    )]
    Dump {
        /// The transport.
        protocol: Protocol,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to destroy a socket.
    #[error("the kernel does not let go of a socket: {0}; the agent needs CAP_NET_ADMIN")]
    Destroy(#[source] io::Error),
}

/// What became of a socket that was to be destroyed.
#[derive(Debug)]
pub enum Fate {
    /// It has been destroyed.
    Destroyed,
    /// It was gone, or its addresses belong to another socket by now.
    Gone,
    /// The kernel lacks `CONFIG_INET_DIAG_DESTROY`.
    Unsupported,
    /// It was refused for another reason (EPERM: `CAP_NET_ADMIN` is missing).
    Failed(io::Error),
}

/// Requests sent at once: their answers must fit into the socket's default buffer.
const BATCH: usize = 64;
/// The kernel fills at most this much per datagram of a dump.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this is against waiting for ever for a lost answer.
const PATIENCE_S: i64 = 5;

/// Socket diagnostics of one namespace. Keeps the namespace alive: drop it soon.
#[derive(Debug)]
pub struct Diag {
    netlink: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Diag {
    /// Opens it: a netlink socket belongs to the namespace in which it was made.
    pub fn open(namespace: &Namespace) -> Result<Self, DiagError> {
        let netlink =
            netns::run(namespace, open)?.map_err(|errno| DiagError::Open(errno.into()))?;
        Ok(Self { netlink, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Gives `see` the sockets with a peer (connecting, connected, closing) whose peer is one of
    /// `peers`; of IPv4 and IPv6, mapped ones included. Sockets that come and go meanwhile may
    /// be missing. Where `peers` are many, others are seen too. With a map of socket storage,
    /// each of TCP comes with its value there (Linux 5.7; needs `CAP_BPF`).
    pub fn each(
        &mut self,
        protocol: Protocol,
        peers: &[SocketAddr],
        storage: Option<BorrowedFd<'_>>,
        mut see: impl FnMut(Socket),
    ) -> Result<(), DiagError> {
        let extra = storage.map_or(Extra::None, |map| Extra::Storage(map.as_raw_fd()));
        for family in [Family::V4, Family::V6] {
            for filter in filter::to_any(peers, Which::Peer, family) {
                self.list(family, protocol, &filter, extra, &mut see)?;
            }
        }
        Ok(())
    }

    /// The same for TCP sockets of which one of the two addresses is among these, each with what it
    /// has carried. One of which both are can be seen twice.
    pub fn both_ends(
        &mut self,
        addresses: &[SocketAddr],
        mut see: impl FnMut(Socket),
    ) -> Result<(), DiagError> {
        for family in [Family::V4, Family::V6] {
            for filter in filter::to_any(addresses, Which::Either, family) {
                self.list(family, Protocol::Tcp, &filter, Extra::Carried, &mut see)?;
            }
        }
        Ok(())
    }

    /// The same for the sockets with any peer.
    pub fn all(
        &mut self,
        protocol: Protocol,
        mut see: impl FnMut(Socket),
    ) -> Result<(), DiagError> {
        for family in [Family::V4, Family::V6] {
            self.list(family, protocol, &[], Extra::None, &mut see)?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        family: Family,
        protocol: Protocol,
        filter: &[u8],
        extra: Extra,
        see: &mut impl FnMut(Socket),
    ) -> Result<(), DiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&dump(family, protocol, filter, extra, self.sequence))?;
        let mut end = None;
        while end.is_none() {
            for reply in self.receive(protocol)? {
                match reply {
                    Reply::Socket(socket) => see(*socket),
                    Reply::End { errno, .. } => end = Some(errno),
                    Reply::Other => {}
                }
            }
        }
        match end.filter(|errno| *errno != 0) {
            None => Ok(()),
            Some(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                Err(DiagError::Dump { protocol, source })
            }
        }
    }

    /// Destroys sockets, and tells `fate` of each what became of it. An error leaves open what
    /// became of those that it was not told of.
    pub fn destroy<'a>(
        &mut self,
        sockets: &'a [Socket],
        mut fate: impl FnMut(&'a Socket, Fate),
    ) -> Result<(), DiagError> {
        for batch in sockets.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut request = Vec::new();
            for socket in batch {
                self.sequence = self.sequence.wrapping_add(1);
                request.extend(destroy(socket, self.sequence));
            }
            self.send(&request)?;
            let mut open = batch.len();
            while open > 0 {
                // The protocol matters only for sockets, and none are sent.
                for reply in self.receive(Protocol::Tcp)? {
                    let Reply::End { sequence, errno } = reply else { continue };
                    let at = usize::try_from(sequence.wrapping_sub(first)).ok();
                    if let Some(socket) = at.and_then(|at| batch.get(at)) {
                        fate(socket, fate_of(errno));
                        open = open.saturating_sub(1);
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&self, request: &[u8]) -> Result<(), DiagError> {
        let kernel = NetlinkAddr::new(0, 0);
        let sent = sendto(self.netlink.as_raw_fd(), request, &kernel, MsgFlags::empty());
        sent.map(drop).map_err(|errno| DiagError::Talk { call: "sendto", source: errno.into() })
    }

    fn receive(&mut self, protocol: Protocol) -> Result<impl Iterator<Item = Reply>, DiagError> {
        let talk = |errno: Errno| DiagError::Talk { call: "recv", source: errno.into() };
        let length = loop {
            match recv(self.netlink.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Ok(length) => break length,
                Err(errno) => return Err(talk(errno)),
            }
        };
        Ok(wire::replies(self.buffer.get(..length).unwrap_or_default(), protocol))
    }
}

fn open() -> nix::Result<OwnedFd> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let patience = TimeVal::seconds(PATIENCE_S);
    nix::sys::socket::setsockopt(&netlink, sockopt::ReceiveTimeout, &patience)?;
    Ok(netlink)
}

fn fate_of(errno: i32) -> Fate {
    if errno == 0 {
        return Fate::Destroyed;
    }
    let errno = Errno::from_raw(errno);
    // Not there or closed already; there, but with another cookie.
    if errno == Errno::ENOENT || errno == Errno::ESTALE {
        Fate::Gone
    } else if errno == Errno::EOPNOTSUPP {
        Fate::Unsupported
    } else {
        Fate::Failed(errno.into())
    }
}
