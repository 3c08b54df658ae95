//! Same-node acceleration: what the programs keep about connections whose two ends are on this node,
//! and whose data goes from socket to socket without the network stack.
//!
//! ```text
//! client established ─► sockets[{id, client}], pairings[what both ends know] ─┐
//! server established ◄─ the same key ◄──────────────────────────────────────┘
//!                    └► sockets[{id, server}]
//! a message is sent  ─► accelerated[socket] ─► pairs[place] ─► sockets[the other end]
//! gone over to TCP   ─► both leave `sockets`, once nothing that was redirected waits
//! ```

use crate::addr::IpKey;
use crate::service::ServiceIndex;

/// Key of `pairings`: a connection as its two ends, and nobody else, know it. Two connections of
/// two network namespaces can have the same addresses and ports; they do not have the same initial
/// sequence numbers, which the kernel draws from a secret and a clock (RFC 6528).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PairKey {
    /// Client's own address.
    pub client_addr: IpKey,
    /// Server's own address.
    pub server_addr: IpKey,
    /// Client's port, host order.
    pub client_port: u16,
    /// Server's port, host order.
    pub server_port: u16,
    /// Sequence number of the client's first byte.
    pub client_seq: u32,
    /// Sequence number of the server's first byte.
    pub server_seq: u32,
    /// Zero.
    pub pad: u32,
    /// Cookie of the network namespace where the addresses are of a loopback device; 0 otherwise,
    /// because the ends may be in different ones.
    pub netns: u64,
}

/// Names a connection. A socket can connect more than once, and an earlier connection's server may be
/// there still, so that the cookie of the client's socket is not enough.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PairId {
    /// The number; 0 names nothing.
    pub number: u64,
}

impl PairId {
    /// Of a client's socket and its first sequence number: 32 bits of each. Two that are open at a
    /// time would be the same only if four thousand million sockets were made between them and the
    /// kernel drew the same number.
    #[must_use]
    #[inline(always)]
    pub const fn new(cookie: u64, client_seq: u32) -> Self {
        Self { number: cookie << 32 | client_seq as u64 }
    }

    /// Whether it may be a connection of the client's socket with this cookie.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(self, cookie: u64) -> bool {
        self.number >> 32 == cookie & 0xffff_ffff
    }
}

/// Value of `pairings`: a client that waits for its server to be established.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pairing {
    /// The connection.
    pub id: PairId,
    /// Place of the client's record, see [`Pair`].
    pub place: u32,
    /// Zero.
    pub pad: u32,
}

/// Key of `sockets`: one end of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SocketKey {
    /// The connection.
    pub id: PairId,
    /// Which end.
    pub end: End,
    /// Zero.
    pub pad: u32,
}

/// An end of a connection.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct End {
    /// The number.
    pub code: u32,
}

impl End {
    /// The one that connected.
    pub const CLIENT: Self = Self { code: 0 };
    /// The one that accepted.
    pub const SERVER: Self = Self { code: 1 };

    /// The other one.
    #[must_use]
    #[inline(always)]
    pub const fn other(self) -> Self {
        if self.code == Self::CLIENT.code { Self::SERVER } else { Self::CLIENT }
    }
}

/// Value of the socket storage `accelerated`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accelerated {
    /// The connection.
    pub id: PairId,
    /// Its place in `pairs`.
    pub place: u32,
    /// Which end this is.
    pub end: End,
    /// While the socket is not to sleep for long, what it had instead.
    pub alarm: Alarm,
}

/// Keep-alive of a socket, as it was before the programs changed it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Alarm {
    /// Not changed, or changed and was off, or changed and was on.
    pub state: AlarmState,
    /// `TCP_KEEPIDLE`, seconds.
    pub idle: u32,
    /// `TCP_KEEPINTVL`, seconds.
    pub interval: u32,
    /// `TCP_KEEPCNT`.
    pub count: u32,
    /// Segments since the other end has closed.
    pub closing: u32,
    /// Zero.
    pub pad: u32,
}

/// What has become of a socket's keep-alive.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AlarmState {
    /// The number.
    pub code: u32,
}

impl AlarmState {
    /// It is the application's.
    pub const UNSET: Self = Self { code: 0 };
    /// The programs have switched it on.
    pub const WAS_OFF: Self = Self { code: 1 };
    /// The programs have changed its times.
    pub const WAS_ON: Self = Self { code: 2 };
}

/// Value of `pairs`, by the place of the client's record in `conns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pair {
    /// The connection; what names another one is left over and means nothing.
    pub id: PairId,
    /// Which way data goes from client to server.
    pub sent_path: Path,
    /// Which way it goes from server to client.
    pub received_path: Path,
    /// Where in the kernel's memory the client's socket is, as long as it is there.
    pub client_at: u64,
    /// The same of the server's; 0 until it is in the map of sockets.
    pub server_at: u64,
    /// From client to server.
    pub sent: Direction,
    /// From server to client.
    pub received: Direction,
    /// The connection again, once nothing of what the client redirected is on its way to the server's
    /// queue any more, and nothing more will be.
    pub sent_done: PairId,
    /// The same of what the server redirected.
    pub received_done: PairId,
    /// The client's cgroup, where the service is one of [`crate::service::ServiceFlags::AUTO`] or
    /// connections are counted by client; also of a datagram socket, of which all else means nothing.
    pub cgroup: u64,
}

impl Pair {
    /// Stands for the address of an end that is in the map of sockets, until it sends something: it
    /// cannot be looked at.
    pub const SOMEWHERE: u64 = 1;
}

/// What went one way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Direction {
    /// Bytes that were redirected. TCP does not know them.
    pub bytes: u64,
    /// Messages that were redirected, around the end of the number.
    pub messages: u32,
    /// How many there were when nothing waited for the reader the last time.
    pub messages_taken: u32,
}

/// Bytes that may wait for their reader: the kernel holds back nobody who redirects, not even at the
/// reader's buffer size. What is beyond the window goes by TCP, which holds back.
pub const WINDOW: u64 = 1 << 20;
/// Redirected messages that may wait: the kernel keeps about 1 KiB for each, which no limit of memory
/// counts.
pub const MESSAGES: u32 = 1_024;
/// So many messages after its reader had taken all, a direction that is not wanted any more goes over
/// to TCP also while something waits.
pub const MOST_UNWANTED: u32 = 64;

impl Direction {
    /// Messages since nothing waited for the reader.
    #[must_use]
    #[inline(always)]
    pub const fn behind(self) -> u32 {
        self.messages.wrapping_sub(self.messages_taken)
    }

    /// Whether a message of so many bytes more may wait beside those that do.
    #[must_use]
    #[inline(always)]
    pub const fn has_room(self, waiting: u64, bytes: u64) -> bool {
        let messages = if waiting == 0 { 0 } else { self.behind() };
        messages < MESSAGES && waiting + bytes <= WINDOW
    }
}

/// Which way the data of one direction goes. Never from TCP to redirected: a reader takes redirected
/// data first, so that it would see what is newer before what is older.
///
/// ```text
/// UNDECIDED ─► REDIRECTED ─► LEFT
///         └──► TCP
/// ```
///
/// Everybody may take each of these steps, by comparing and exchanging, at any time.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Path {
    /// The number.
    pub code: u32,
}

impl Path {
    /// Nothing has been sent.
    pub const UNDECIDED: Self = Self { code: 0 };
    /// From socket to socket.
    pub const REDIRECTED: Self = Self { code: 1 };
    /// By TCP, for good; nothing ever was redirected.
    pub const TCP: Self = Self { code: 2 };
    /// By TCP, for good, after something was redirected.
    pub const LEFT: Self = Self { code: 3 };

    /// Whether the next message may be redirected.
    #[must_use]
    #[inline(always)]
    pub const fn may_redirect(self) -> bool {
        self.code < Self::TCP.code
    }

    /// The path after a message that is redirected, or goes by TCP.
    #[must_use]
    #[inline(always)]
    pub const fn after(self, redirected: bool) -> Self {
        match (self, redirected) {
            (Self::UNDECIDED, true) => Self::REDIRECTED,
            (Self::UNDECIDED, false) => Self::TCP,
            (Self::REDIRECTED, false) => Self::LEFT,
            (other, _) => other,
        }
    }
}

/// Both paths of a connection.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Paths {
    /// [`Path::code`] from client to server, 256 times that from server to client, and
    /// [`Self::KNOWN`].
    pub bits: u16,
}

impl Paths {
    /// The connection's two ends had found each other.
    pub const KNOWN: u16 = 1 << 15;

    /// From client to server, and back.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "codes are small")]
    pub const fn new(sent: Path, received: Path) -> Self {
        Self { bits: sent.code as u16 | (received.code as u16) << 8 | Self::KNOWN }
    }

    /// From client to server, and back; `None` of a connection that was not accelerated.
    #[must_use]
    pub const fn get(self) -> Option<(Path, Path)> {
        if self.bits & Self::KNOWN == 0 {
            return None;
        }
        let [sent, received] = (self.bits & !Self::KNOWN).to_le_bytes();
        Some((Path { code: sent as u32 }, Path { code: received as u32 }))
    }
}

/// Where this kernel keeps what the programs look at in sockets: the agent knows it from the kernel's
/// BTF, and the programs have it in their read-only data. Byte offsets; all zero: unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SocketLayout {
    /// The bit of `SOCK_ZEROCOPY` in `sk_flags`.
    pub zero_copy: u64,
    /// `sk_backlog.rmem_alloc` of `struct tcp_sock`: bytes that wait for their reader.
    pub waiting_at: u32,
    /// `sk_flags` of it.
    pub flags_at: u32,
    /// `icsk_ulp_ops` of it: a pointer, null where there is no upper layer protocol.
    pub ulp_at: u32,
    /// `sk_user_data` of it: a pointer and three bits.
    pub user_data_at: u32,
    /// `refcnt` of `struct sk_psock`: the maps that the socket is in, and the calls that send or
    /// receive on it now.
    pub users_at: u32,
    /// `link` of it: the list of the maps that the socket is in.
    pub links_at: u32,
    /// `ingress_msg` of it: the list of redirected data that waits for its reader.
    pub queue_at: u32,
    /// `sk_socket` of `struct tcp_sock`: a pointer, null before the application has accepted it.
    pub socket_at: u32,
    /// `file` of `struct socket`: a pointer.
    pub file_at: u32,
    /// `f_flags` of `struct file`.
    pub file_flags_at: u32,
}

/// Key of `auto_clients`: a client and a service of [`crate::service::ServiceFlags::AUTO`], between
/// which connections are accelerated, because what the agent has seen of both speaks for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AutoKey {
    /// The client's cgroup.
    pub cgroup: u64,
    /// The service.
    pub service: ServiceIndex,
    /// Zero.
    pub pad: u32,
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A reader drains redirected data before TCP's. Whatever is switched on and off, and
        /// whether or not the other end is there, it reads in the order of sending.
        #[test]
        fn no_byte_overtakes_another(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..100),
        ) {
            let mut path = Path::UNDECIDED;
            let (mut redirected, mut tcp, mut read) = (Vec::new(), Vec::new(), Vec::new());
            for (number, (on, there, reads)) in steps.into_iter().enumerate() {
                let goes = path.may_redirect() && on && there;
                path = path.after(goes);
                if goes { redirected.push(number) } else { tcp.push(number) }
                if reads {
                    read.append(&mut redirected);
                    read.append(&mut tcp);
                }
            }
            read.append(&mut redirected);
            read.append(&mut tcp);
            prop_assert!(read.is_sorted());
        }
    }
}
