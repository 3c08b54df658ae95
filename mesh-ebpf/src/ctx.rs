//! Safe views over the kernel's contexts and maps; the only unsafe code of this crate besides
//! the panic handler.
//!
//! Context fields are read and written volatile: the verifier accepts only single accesses of
//! the declared width, and the compiler would otherwise merge or move them.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_addr, bpf_sock_ops};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_set_retval, bpf_sk_storage_get,
    bpf_sock_ops_cb_flags_set,
};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use mesh_common::addr::{IpKey, port_from_remote_port, port_from_user_port, user_port};
use mesh_common::conn::ConnRecord;
use mesh_common::event::Event;
use mesh_common::frontend::FrontendKey;

use crate::maps;

/// IANA protocol number of TCP.
pub(crate) const TCP: u8 = 6;

/// `connect4` and `getpeername4`: the address in question can be read and replaced.
pub(crate) struct SockAddr {
    raw: *mut bpf_sock_addr,
}

impl SockAddr {
    #[inline(always)]
    pub(crate) const fn new(ctx: &SockAddrContext) -> Self {
        Self { raw: ctx.sock_addr }
    }

    /// IANA protocol number.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u32 {
        // SAFETY: the kernel passes a valid context for the whole run.
        unsafe { ptr::read_volatile(&raw const (*self.raw).protocol) }
    }

    #[inline(always)]
    pub(crate) fn addr4(&self) -> IpKey {
        // SAFETY: as in `protocol`.
        IpKey::from_v4_word(unsafe { ptr::read_volatile(&raw const (*self.raw).user_ip4) })
    }

    /// Key of the frontend that the socket is about to connect to, over TCP.
    ///
    /// Written word by word: left to itself, the compiler zeroes the key by a call.
    #[inline(always)]
    pub(crate) fn frontend_key(&self) -> FrontendKey {
        let FrontendKey { addr, port, proto, pad } =
            FrontendKey::new(self.addr4(), self.port(), TCP);
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
    pub(crate) fn set_peer4(&self, addr: &IpKey, port: u16) {
        // SAFETY: as in `protocol`; both fields are writable in these hooks.
        unsafe {
            ptr::write_volatile(&raw mut (*self.raw).user_ip4, addr.v4_word());
            ptr::write_volatile(&raw mut (*self.raw).user_port, user_port(port));
        }
    }

    #[inline(always)]
    fn sock(&self) -> *mut bpf_sock {
        // SAFETY: as in `protocol`.
        unsafe { ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_1.sk) }
    }

    /// The socket's record, if an earlier `connect()` left one.
    #[inline(always)]
    pub(crate) fn record(&self) -> Option<ConnRecord> {
        // SAFETY: `sock` is a trusted pointer in these hooks; the storage lives as long.
        unsafe { storage(self.sock(), 0).as_ref().copied() }
    }

    /// Stores the socket's record; false where the kernel has no memory for it.
    #[inline(always)]
    pub(crate) fn set_record(&self, record: &ConnRecord) -> bool {
        let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
        // SAFETY: as in `record`; one `connect()` runs at a time on a socket (socket lock).
        unsafe {
            let stored = storage(self.sock(), create);
            if stored.is_null() {
                return false;
            }
            store(stored, record);
        }
        true
    }
}

/// `sockops`.
pub(crate) struct SockOps {
    raw: *mut bpf_sock_ops,
}

macro_rules! sock_ops_field {
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

    sock_ops_field! {
        op: u32,
        snd_nxt: u32,
        snd_una: u32,
        total_retrans: u32,
        bytes_received: u64,
        bytes_acked: u64,
        bpf_sock_ops_cb_flags: u32,
    }

    /// Smoothed round-trip time, microseconds; the kernel keeps eight times that.
    #[inline(always)]
    pub(crate) fn srtt_us(&self) -> u32 {
        // SAFETY: as in `op`.
        unsafe { ptr::read_volatile(&raw const (*self.raw).srtt_us) >> 3 }
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
    pub(crate) fn remote4(&self) -> (IpKey, u16) {
        // SAFETY: as in `op`.
        unsafe {
            (
                IpKey::from_v4_word(ptr::read_volatile(&raw const (*self.raw).remote_ip4)),
                port_from_remote_port(ptr::read_volatile(&raw const (*self.raw).remote_port)),
            )
        }
    }

    /// Local address and port.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a port, in host order here")]
    pub(crate) fn local4(&self) -> (IpKey, u16) {
        // SAFETY: as in `op`.
        unsafe {
            (
                IpKey::from_v4_word(ptr::read_volatile(&raw const (*self.raw).local_ip4)),
                ptr::read_volatile(&raw const (*self.raw).local_port) as u16,
            )
        }
    }

    /// Asks for `STATE_CB` on this socket from now on.
    #[inline(always)]
    pub(crate) fn follow_states(&self) {
        const STATE_CB_FLAG: u32 = 1 << 2;
        let flags = self.bpf_sock_ops_cb_flags() | STATE_CB_FLAG;
        // SAFETY: as in `op`. The call fails only for flags this kernel does not know.
        unsafe { bpf_sock_ops_cb_flags_set(self.raw, flags.cast_signed()) };
    }

    /// The socket's record, to be changed in place; `None` where no `connect()` left one.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the record is the kernel's, not part of the context")]
    pub(crate) fn record(&self) -> Option<&mut ConnRecord> {
        // SAFETY: as in `op`; `sk` is checked before use, and sockops of one socket do not run
        // in parallel (socket lock).
        unsafe {
            let sock = ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_2.sk);
            if sock.is_null() {
                return None;
            }
            storage(sock, 0).as_mut()
        }
    }
}

/// Copies a record field by field: left to itself, the compiler copies it byte by byte.
///
/// # Safety
///
/// `to` must be valid for writes.
#[inline(always)]
unsafe fn store(to: *mut ConnRecord, record: &ConnRecord) {
    const WORDS: usize = size_of::<ConnRecord>() / 8;
    let from = ptr::from_ref(record).cast::<u64>();
    let to = to.cast::<u64>();
    let mut at = 0;
    while at < WORDS {
        // SAFETY: the caller's promise; a record is a whole number of aligned words.
        unsafe { ptr::write_volatile(to.add(at), ptr::read(from.add(at))) };
        at += 1;
    }
}

/// # Safety
///
/// `sock` must come from a context of this run.
#[inline(always)]
unsafe fn storage(sock: *mut bpf_sock, flags: u64) -> *mut ConnRecord {
    let map = (&raw const maps::conns).cast_mut().cast();
    // SAFETY: the caller's promise; the map is a socket storage of `ConnRecord`.
    unsafe { bpf_sk_storage_get(map, sock.cast(), ptr::null_mut(), flags).cast() }
}

/// Uniform over all 32-bit numbers.
#[inline(always)]
pub(crate) fn random() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_prandom_u32() }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// What the refused `connect()` returns; `errno` is positive.
#[inline(always)]
pub(crate) fn set_errno(errno: u32) {
    // SAFETY: the helper has no preconditions in cgroup hooks.
    unsafe { bpf_set_retval(errno.cast_signed().wrapping_neg()) };
}

/// Copies a map value that user space may be rewriting: the copy may be torn, and the logic of
/// mesh-common finds out.
#[inline(always)]
pub(crate) fn copy<T: Copy>(value: Option<*const T>) -> Option<T> {
    // SAFETY: a map lookup's non-null pointer is valid until the program ends.
    value.map(|value| unsafe { ptr::read_volatile(value) })
}

/// Adds to a per-CPU counter. Atomic, because a program in process context can be interrupted
/// by one in softirq on the same CPU.
#[inline(always)]
pub(crate) fn add(counter: &mut u64, by: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: a valid, aligned pointer to a map value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(ptr::from_mut(counter), by) };
}

/// The value behind a per-CPU lookup.
#[inline(always)]
pub(crate) fn per_cpu<T>(value: Option<*mut T>) -> Option<&'static mut T> {
    // SAFETY: valid until the program ends; all writes go through `add`.
    value.map(|value| unsafe { &mut *value })
}

/// Sends an event; false where the ring is full.
#[inline(always)]
pub(crate) fn send(event: &Event) -> bool {
    maps::events.output_untyped::<Event>(event, 0).is_ok()
}
