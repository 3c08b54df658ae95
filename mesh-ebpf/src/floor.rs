//! Yardsticks for `cargo xtask bench connect`, measured in the same run as the real programs:
//! an empty program (the cost of being called at all) and the smallest redirect that can work
//! (one hash lookup, one array lookup, no counters, no record).

#![no_std]
#![no_main]
#![expect(unreachable_pub, reason = "programs are found by their exported symbols")]
#![expect(clippy::needless_pass_by_value, reason = "the macros pass contexts by value")]
#![expect(non_upper_case_globals, reason = "the symbol is the map's name")]

use core::ptr;

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::{btf_map, cgroup_sock_addr};
use aya_ebpf::programs::SockAddrContext;
use mesh_common::addr::{IpKey, port_from_user_port, user_port};
use mesh_common::backend::Backend;
use mesh_common::frontend::FrontendKey;

mod panic;

/// Service → first backend and number of backends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Range {
    /// First index into `floor_backends`.
    pub base: u32,
    /// How many.
    pub count: u32,
}

#[btf_map]
static floor_frontends: HashMap<FrontendKey, Range, 16_384> = HashMap::new();
#[btf_map]
static floor_backends: Array<Backend, 131_072> = Array::new();

/// Does nothing.
#[cgroup_sock_addr(connect4)]
pub const fn empty_connect4(_ctx: SockAddrContext) -> i32 {
    1
}

/// Redirects, and nothing else.
#[cgroup_sock_addr(connect4)]
pub fn floor_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context; fields are accessed at their declared width.
    // Lookups return null or a pointer that is valid until the program ends.
    unsafe {
        let ctx = ctx.sock_addr;
        let addr = IpKey::from_v4_word(ptr::read_volatile(&raw const (*ctx).user_ip4));
        let port = port_from_user_port(ptr::read_volatile(&raw const (*ctx).user_port));
        let Some(range) = floor_frontends.get_ptr(FrontendKey::new(addr, port, 6)) else {
            return 1;
        };
        let offset = (u64::from(bpf_get_prandom_u32()) * u64::from((*range).count)) >> 32;
        let index = (*range).base.wrapping_add(offset as u32);
        if let Some(backend) = floor_backends.get(index) {
            ptr::write_volatile(&raw mut (*ctx).user_ip4, backend.addr.v4_word());
            ptr::write_volatile(&raw mut (*ctx).user_port, user_port(backend.port));
        }
    }
    1
}

/// The kernel lets only programs under a GPL-compatible licence call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
