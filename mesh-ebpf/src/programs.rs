//! The entry points: what the kernel calls, by the hook it calls it from.

#![expect(unreachable_pub, reason = "programs are found by their exported symbols")]
#![expect(clippy::needless_pass_by_value, reason = "the macros pass contexts by value")]

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, sk_msg, sock_ops};
use aya_ebpf::programs::{SkMsgContext, SockAddrContext, SockContext, SockOpsContext};

use crate::connect::ALLOW;
use crate::{accel, connect, ctx, datagram, peername, release, sockops};

/// `SK_PASS` (`enum sk_action`).
const PASS: u32 = 1;

/// Chooses the backend of a connection over IPv4. Minimum kernel: 5.19 (`bpf_set_retval`).
#[cgroup_sock_addr(connect4)]
pub fn mesh_connect4(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx::SockAddr::<false>::new(&ctx))
}

/// Chooses the backend of a connection of an IPv6 socket. Minimum kernel: 5.19.
#[cgroup_sock_addr(connect6)]
pub fn mesh_connect6(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx::SockAddr::<true>::new(&ctx))
}

/// Chooses the backend of a datagram over IPv4. Minimum kernel: 5.19.
#[cgroup_sock_addr(sendmsg4)]
pub fn mesh_sendmsg4(ctx: SockAddrContext) -> i32 {
    datagram::sendmsg(&ctx::SockAddr::<false>::new(&ctx))
}

/// Chooses the backend of a datagram of an IPv6 socket. Minimum kernel: 5.19.
#[cgroup_sock_addr(sendmsg6)]
pub fn mesh_sendmsg6(ctx: SockAddrContext) -> i32 {
    datagram::sendmsg(&ctx::SockAddr::<true>::new(&ctx))
}

/// Shows the service's address as the sender of a reply. Minimum kernel: 5.3.
#[cgroup_sock_addr(recvmsg4)]
pub fn mesh_recvmsg4(ctx: SockAddrContext) -> i32 {
    datagram::recvmsg(&ctx::SockAddr::<false>::new(&ctx));
    ALLOW
}

/// Shows the service's address as the sender of a reply. Minimum kernel: 5.3.
#[cgroup_sock_addr(recvmsg6)]
pub fn mesh_recvmsg6(ctx: SockAddrContext) -> i32 {
    datagram::recvmsg(&ctx::SockAddr::<true>::new(&ctx));
    ALLOW
}

/// Shows the service's address to the application. Minimum kernel: 5.8.
#[cgroup_sock_addr(getpeername4)]
pub fn mesh_getpeername4(ctx: SockAddrContext) -> i32 {
    peername::getpeername(&ctx::SockAddr::<false>::new(&ctx));
    ALLOW
}

/// Shows the service's address to the application. Minimum kernel: 5.8.
#[cgroup_sock_addr(getpeername6)]
pub fn mesh_getpeername6(ctx: SockAddrContext) -> i32 {
    peername::getpeername(&ctx::SockAddr::<true>::new(&ctx));
    ALLOW
}

/// Counts established, failed and closed connections. Minimum kernel: 5.12 (atomics).
#[sock_ops]
pub fn mesh_sockops(ctx: SockOpsContext) -> u32 {
    sockops::sockops(&ctx::SockOps::new(&ctx));
    1
}

/// Ends what no TCP state change ends. Minimum kernel: 5.12 (cookies in this hook).
#[cgroup_sock(sock_release)]
pub fn mesh_sock_release(ctx: SockContext) -> i32 {
    release::release(&ctx::Sock::new(&ctx));
    ALLOW
}

/// Sends data to the other end of a connection on this node. Minimum kernel: 5.15.
#[sk_msg]
pub fn mesh_message(ctx: SkMsgContext) -> u32 {
    accel::message(&ctx::Message::new(&ctx));
    PASS
}
