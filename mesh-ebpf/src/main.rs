//! The eBPF programs: entry points only. What they decide is in mesh-common; here it is looked
//! up, asked for, and written back.
//!
//! Path of a connection: `connect` (`select`, `records`) → (TCP handshake) → `sockops` →
//! `release`; `peername` whenever the application asks. Path of a datagram: `datagram`.

#![no_std]
#![no_main]
#![expect(unreachable_pub, reason = "programs are found by their exported symbols")]
#![feature(core_intrinsics)]
#![expect(clippy::needless_pass_by_value, reason = "the macros pass contexts by value")]
#![expect(internal_features, reason = "the target has no other atomic addition")]
#![expect(
    clippy::inline_always,
    reason = "a call that is not inlined is a BPF-to-BPF call on the path of every connect()"
)]

mod connect;
mod ctx;
mod datagram;
mod maps;
mod panic;
mod peername;
mod records;
mod release;
mod select;
mod sockops;
mod telemetry;

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, sock_ops};
use aya_ebpf::programs::{SockAddrContext, SockContext, SockOpsContext};

use crate::connect::ALLOW;

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

/// The kernel lets only programs under a GPL-compatible licence call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
