//! `sock_release`: a socket that its last user has closed.

use core::ptr;

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SockContext;

use super::Owner;

/// A socket.
pub(crate) struct Sock {
    raw: *mut bpf_sock,
}

impl Sock {
    #[inline(always)]
    pub(crate) const fn new(ctx: &SockContext) -> Self {
        Self { raw: ctx.sock }
    }

    /// IANA protocol number.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u32 {
        // SAFETY: the kernel passes a valid context for the whole run.
        unsafe { ptr::read_volatile(&raw const (*self.raw).protocol) }
    }

    /// The number that the kernel gives a socket once.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: as in `protocol`.
        unsafe { bpf_get_socket_cookie(self.raw.cast()) }
    }

    #[inline(always)]
    pub(crate) const fn owner(&self) -> Owner {
        Owner { raw: self.raw }
    }
}
