//! The eBPF programs: entry points only. What they decide is in mesh-common; here it is looked
//! up, asked for, and written back.
//!
//! Path of a connection: `connect` → (TCP handshake) → `sockops` → `peername` whenever the
//! application asks.

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
mod maps;
mod panic;
mod peername;
mod sockops;
mod telemetry;

use aya_ebpf::macros::{cgroup_sock_addr, sock_ops};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};

/// Chooses the backend of a TCP connection over IPv4. Minimum kernel: 5.19 (`bpf_set_retval`).
#[cgroup_sock_addr(connect4)]
pub fn mesh_connect4(ctx: SockAddrContext) -> i32 {
    connect::connect4(&ctx::SockAddr::new(&ctx))
}

/// Shows the service's address to the application. Minimum kernel: 5.8.
#[cgroup_sock_addr(getpeername4)]
pub fn mesh_getpeername4(ctx: SockAddrContext) -> i32 {
    peername::getpeername4(&ctx::SockAddr::new(&ctx));
    connect::ALLOW
}

/// Counts established, failed and closed connections. Minimum kernel: 5.2 (socket storage).
#[sock_ops]
pub fn mesh_sockops(ctx: SockOpsContext) -> u32 {
    sockops::sockops(&ctx::SockOps::new(&ctx));
    1
}

/// The kernel lets only programs under a GPL-compatible licence call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
