//! `connect`, `sendmsg`, `recvmsg` and `getpeername`: the address in question can be read and
//! replaced.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::programs::SockAddrContext;
use mesh_common::addr::{IpKey, port_from_user_port, user_port};
use mesh_common::frontend::FrontendKey;

use super::Owner;

/// A socket and an address, of the family IPv6 if `V6`; IPv4 addresses appear there in their
/// mapped form, which is how all maps hold them.
pub(crate) struct SockAddr<const V6: bool> {
    raw: *mut bpf_sock_addr,
}

impl<const V6: bool> SockAddr<V6> {
    #[inline(always)]
    pub(crate) const fn new(ctx: &SockAddrContext) -> Self {
        Self { raw: ctx.sock_addr }
    }

    /// For helpers.
    #[inline(always)]
    pub(super) const fn raw(&self) -> *mut bpf_sock_addr {
        self.raw
    }

    /// IANA protocol number.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u32 {
        // SAFETY: the kernel passes a valid context for the whole run.
        unsafe { ptr::read_volatile(&raw const (*self.raw).protocol) }
    }

    #[inline(always)]
    pub(crate) fn addr(&self) -> IpKey {
        if V6 {
            // SAFETY: as in `protocol`.
            unsafe {
                let words = (&raw const (*self.raw).user_ip6).cast::<u32>();
                IpKey::from_v6_words([
                    ptr::read_volatile(words),
                    ptr::read_volatile(words.add(1)),
                    ptr::read_volatile(words.add(2)),
                    ptr::read_volatile(words.add(3)),
                ])
            }
        } else {
            // SAFETY: as in `protocol`.
            IpKey::from_v4_word(unsafe { ptr::read_volatile(&raw const (*self.raw).user_ip4) })
        }
    }

    /// Key of the frontend that the address may be.
    ///
    /// Written word by word: left to itself, the compiler zeroes the key by a call.
    #[inline(always)]
    pub(crate) fn frontend_key(&self, proto: u8) -> FrontendKey {
        let FrontendKey { addr, port, proto, pad } =
            FrontendKey::new(self.addr(), self.port(), proto);
        let mut key = MaybeUninit::<FrontendKey>::uninit();
        let to = key.as_mut_ptr();
        let [first, second, third, fourth] = addr.words();
        // SAFETY: all of the key is written, each field at its place.
        unsafe {
            let words = (&raw mut (*to).addr).cast::<u32>();
            ptr::write_volatile(words, first);
            ptr::write_volatile(words.add(1), second);
            ptr::write_volatile(words.add(2), third);
            ptr::write_volatile(words.add(3), fourth);
            ptr::write_volatile(&raw mut (*to).port, port);
            ptr::write_volatile(&raw mut (*to).proto, proto);
            ptr::write_volatile(&raw mut (*to).pad, pad);
            key.assume_init()
        }
    }

    /// Host order.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        // SAFETY: as in `protocol`.
        port_from_user_port(unsafe { ptr::read_volatile(&raw const (*self.raw).user_port) })
    }

    #[inline(always)]
    pub(crate) fn set_peer(&self, addr: &IpKey, port: u16) {
        // SAFETY: as in `protocol`; these fields are writable in these hooks.
        unsafe {
            if V6 {
                let words = (&raw mut (*self.raw).user_ip6).cast::<u32>();
                let [first, second, third, fourth] = addr.words();
                ptr::write_volatile(words, first);
                ptr::write_volatile(words.add(1), second);
                ptr::write_volatile(words.add(2), third);
                ptr::write_volatile(words.add(3), fourth);
            } else {
                ptr::write_volatile(&raw mut (*self.raw).user_ip4, addr.v4_word());
            }
            ptr::write_volatile(&raw mut (*self.raw).user_port, user_port(port));
        }
    }

    /// The number that the kernel gives a socket once.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: as in `protocol`.
        unsafe { bpf_get_socket_cookie(self.raw.cast()) }
    }

    /// The number that the kernel gives a network namespace once.
    #[inline(always)]
    pub(crate) fn netns_cookie(&self) -> u64 {
        // SAFETY: as in `protocol`.
        unsafe { bpf_get_netns_cookie(self.raw.cast()) }
    }

    #[inline(always)]
    pub(crate) fn owner(&self) -> Owner {
        // SAFETY: as in `protocol`.
        Owner { raw: unsafe { ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_1.sk) } }
    }
}
