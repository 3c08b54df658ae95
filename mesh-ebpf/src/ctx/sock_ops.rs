//! `sockops`: a TCP connection and what happens to it.

use core::ptr;

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set,
};
use aya_ebpf::programs::SockOpsContext;
use mesh_common::accel::SocketKey;
use mesh_common::addr::{IpKey, port_from_remote_port};

use super::Owner;
use crate::maps;

/// `AF_INET6`.
const AF_INET6: u32 = 10;

/// A connection.
pub(crate) struct SockOps {
    raw: *mut bpf_sock_ops,
}

macro_rules! field {
    ($($(#[$doc:meta])* $field:ident: $type:ty),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $field(&self) -> $type {
                // SAFETY: the kernel passes a valid context for the whole run.
                unsafe { ptr::read_volatile(&raw const (*self.raw).$field) }
            }
        )+
    };
}

impl SockOps {
    #[inline(always)]
    pub(crate) const fn new(ctx: &SockOpsContext) -> Self {
        Self { raw: ctx.ops }
    }

    /// For helpers.
    #[inline(always)]
    pub(super) const fn raw(&self) -> *mut bpf_sock_ops {
        self.raw
    }

    field! {
        op: u32,
        is_fullsock: u32,
        family: u32,
        snd_nxt: u32,
        rcv_nxt: u32,
        snd_una: u32,
        total_retrans: u32,
        bytes_received: u64,
        bytes_acked: u64,
        bpf_sock_ops_cb_flags: u32,
        state: u32,
        /// Payload of the segment that `HDR_OPT_LEN_CB` is about, bytes.
        skb_len: u32,
    }

    /// Smoothed round-trip time, microseconds; the kernel keeps eight times that.
    #[inline(always)]
    pub(crate) fn srtt_us(&self) -> u32 {
        // SAFETY: as in `op`.
        unsafe { ptr::read_volatile(&raw const (*self.raw).srtt_us) >> 3 }
    }

    /// What the kernel gets for an answer.
    #[inline(always)]
    pub(crate) fn reply(&self, value: u32) {
        // SAFETY: as in `op`; the field is writable.
        unsafe { ptr::write_volatile(&raw mut (*self.raw).__bindgen_anon_1.reply, value) };
    }

    /// Old and new state of a `STATE_CB`.
    #[inline(always)]
    pub(crate) fn states(&self) -> (u32, u32) {
        // SAFETY: as in `op`; `STATE_CB` passes both.
        unsafe {
            let args = &raw const (*self.raw).__bindgen_anon_1.args;
            (ptr::read_volatile(args.cast::<u32>()), ptr::read_volatile(args.cast::<u32>().add(1)))
        }
    }

    #[inline(always)]
    pub(crate) fn remote(&self) -> (IpKey, u16) {
        // SAFETY: as in `op`.
        unsafe {
            let raw = self.raw;
            let six = six((&raw const (*raw).remote_ip6).cast());
            let four = ptr::read_volatile(&raw const (*raw).remote_ip4);
            let addr = self.by_family(six, four);
            (addr, port_from_remote_port(ptr::read_volatile(&raw const (*raw).remote_port)))
        }
    }

    /// Local address and port.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a port, in host order here")]
    pub(crate) fn local(&self) -> (IpKey, u16) {
        // SAFETY: as in `op`.
        unsafe {
            let raw = self.raw;
            let six = six((&raw const (*raw).local_ip6).cast());
            let four = ptr::read_volatile(&raw const (*raw).local_ip4);
            let addr = self.by_family(six, four);
            (addr, ptr::read_volatile(&raw const (*raw).local_port) as u16)
        }
    }

    /// Both addresses are read always: read in branches, the compiler would merge the loads into
    /// one with a variable offset, which the verifier refuses.
    #[inline(always)]
    fn by_family(&self, six: IpKey, four: u32) -> IpKey {
        if self.family() == AF_INET6 { six } else { IpKey::from_v4_word(four) }
    }

    /// Asks for `HDR_OPT_LEN_CB` on this socket from now on, or no more.
    #[inline(always)]
    pub(crate) fn follow_segments(&self, on: bool) {
        const WRITE_HDR_OPT_CB_FLAG: u32 = 1 << 6;
        let others = self.bpf_sock_ops_cb_flags() & !WRITE_HDR_OPT_CB_FLAG;
        let flags = if on { others | WRITE_HDR_OPT_CB_FLAG } else { others };
        // SAFETY: as in `op`. The call fails only for flags this kernel does not know.
        unsafe { bpf_sock_ops_cb_flags_set(self.raw, flags.cast_signed()) };
    }

    /// Asks for `STATE_CB` on this socket from now on.
    #[inline(always)]
    pub(crate) fn follow_states(&self) {
        const STATE_CB_FLAG: u32 = 1 << 2;
        let flags = self.bpf_sock_ops_cb_flags() | STATE_CB_FLAG;
        // SAFETY: as in `op`. The call fails only for flags this kernel does not know.
        unsafe { bpf_sock_ops_cb_flags_set(self.raw, flags.cast_signed()) };
    }

    /// The number that the kernel gives a socket once.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: as in `op`.
        unsafe { bpf_get_socket_cookie(self.raw.cast()) }
    }

    /// Cookie of the socket's network namespace. Minimum kernel: 5.15.
    #[inline(always)]
    pub(crate) fn netns_cookie(&self) -> u64 {
        // SAFETY: as in `cookie`.
        unsafe { bpf_get_netns_cookie(self.raw.cast()) }
    }

    /// Puts the socket into the map of those that messages are sent to; an errno where the kernel
    /// does not.
    #[inline(always)]
    pub(crate) fn enlist(&self, key: SocketKey) -> Result<(), i32> {
        // SAFETY: as in `op`: nobody else has the context now.
        maps::sockets.update(key, unsafe { &mut *self.raw }, 0)
    }

    /// The errno that the application gets from the socket.
    #[inline(always)]
    pub(crate) fn error(&self) -> u32 {
        self.owner().error()
    }

    #[inline(always)]
    pub(crate) fn owner(&self) -> Owner {
        // SAFETY: as in `op`.
        Owner { raw: unsafe { ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_2.sk) } }
    }
}

/// # Safety
///
/// `words` must be the first of an address's four words in a context.
#[inline(always)]
unsafe fn six(words: *const u32) -> IpKey {
    // SAFETY: the caller's promise.
    unsafe {
        IpKey::from_v6_words([
            ptr::read_volatile(words),
            ptr::read_volatile(words.add(1)),
            ptr::read_volatile(words.add(2)),
            ptr::read_volatile(words.add(3)),
        ])
    }
}
