//! Safe views over the kernel's contexts and maps; the only unsafe code of this crate besides
//! the panic handler.
//!
//! Context fields are read and written volatile: the verifier accepts only single accesses of
//! the declared width, and the compiler would otherwise merge or move them.

mod elsewhere;
mod message;
mod options;
mod sock;
mod sock_addr;
mod sock_ops;

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xsub};
use core::mem::offset_of;
use core::ptr;

use aya_ebpf::bindings::{
    BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock,
};
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_prandom_u32,
    bpf_ktime_get_ns, bpf_map_delete_elem, bpf_ringbuf_query, bpf_set_retval, bpf_sk_storage_get,
    bpf_skc_to_tcp_sock,
};
use mesh_common::accel::{Accelerated, SocketKey, SocketLayout};
use mesh_common::addr::IpKey;
use mesh_common::backend::{Backend, BackendIndex};
use mesh_common::conn::{ConnFlags, ConnRecord};
use mesh_common::event::Event;
use mesh_common::flow::Flows;
use mesh_common::guard::Transition;
use mesh_common::inbound::Accepted;

pub(crate) use self::elsewhere::Elsewhere;
pub(crate) use self::message::Message;
pub(crate) use self::options::Options;
pub(crate) use self::sock::Sock;
pub(crate) use self::sock_addr::SockAddr;
pub(crate) use self::sock_ops::SockOps;
use crate::maps;

/// The agent puts in what it knows from the kernel's BTF.
#[unsafe(no_mangle)]
static SOCKET_LAYOUT: SocketLayout = SocketLayout {
    zero_copy: 0,
    waiting_at: 0,
    flags_at: 0,
    ulp_at: 0,
    user_data_at: 0,
    users_at: 0,
    links_at: 0,
    queue_at: 0,
    socket_at: 0,
    file_at: 0,
    file_flags_at: 0,
};

/// The agent puts in where `sk_err` is; 0: it does not know.
#[unsafe(no_mangle)]
static SOCKET_ERROR_AT: u32 = 0;

#[inline(always)]
fn socket_layout() -> SocketLayout {
    // SAFETY: the static does not change once the program is loaded.
    unsafe { ptr::read_volatile(&raw const SOCKET_LAYOUT) }
}

/// IANA protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// IANA protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// A socket in the hands of the kernel, for its storage.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    raw: *mut bpf_sock,
}

impl Owner {
    /// The record that the table had no room for.
    #[inline(always)]
    pub(crate) fn overflow(self, create: bool) -> Option<&'static mut ConnRecord> {
        let map = (&raw const maps::conns_overflow).cast_mut().cast();
        // SAFETY: the map is a socket storage of `ConnRecord`.
        unsafe { self.storage(map, create).cast::<ConnRecord>().as_mut() }
    }

    /// The flows of an unconnected datagram socket.
    #[inline(always)]
    pub(crate) fn flows(self, create: bool) -> Option<&'static mut Flows> {
        let map = (&raw const maps::flows).cast_mut().cast();
        // SAFETY: the map is a socket storage of `Flows`.
        unsafe { self.storage(map, create).cast::<Flows>().as_mut() }
    }

    /// What is known of an end of an accelerated connection.
    #[inline(always)]
    pub(crate) fn accelerated(self, create: bool) -> Option<&'static mut Accelerated> {
        let map = (&raw const maps::accelerated).cast_mut().cast();
        // SAFETY: the map is a socket storage of `Accelerated`.
        unsafe { self.storage(map, create).cast::<Accelerated>().as_mut() }
    }

    /// The server's end of a connection to an endpoint of this node.
    #[inline(always)]
    pub(crate) fn accepted(self, create: bool) -> Option<&'static mut Accepted> {
        let map = (&raw const maps::accepted).cast_mut().cast();
        // SAFETY: the map is a socket storage of `Accepted`.
        unsafe { self.storage(map, create).cast::<Accepted>().as_mut() }
    }

    /// Whether the socket may send: after `shutdown(SHUT_WR)`, and when the connection is over, only
    /// TCP gives the right error.
    #[inline(always)]
    pub(crate) fn sends(self) -> bool {
        const ESTABLISHED: u32 = 1;
        const CLOSE_WAIT: u32 = 8;
        // SAFETY: the pointer is that of a context.
        let state = unsafe { ptr::read_volatile(&raw const (*self.raw).state) };
        state == ESTABLISHED || state == CLOSE_WAIT
    }

    /// Where it is in the kernel's memory: a number, to be looked at from another socket's program.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.raw as u64
    }

    /// Whether the socket sends without copying, or has an upper layer protocol such as kernel TLS:
    /// both need TCP. So does one of which nothing is known.
    #[inline(always)]
    pub(crate) fn is_taken(self) -> bool {
        // SAFETY: the pointer is that of a context; the result is null or a socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.raw.cast()) }.cast::<c_void>();
        let layout = socket_layout();
        if tcp.is_null() || layout.waiting_at == 0 {
            return true;
        }
        // SAFETY: the kernel's own description says that these words of the socket are there.
        let (flags, ulp) =
            unsafe { (at::<u64>(tcp, layout.flags_at), at::<*const c_void>(tcp, layout.ulp_at)) };
        // Read again: the compiler would mix the pointer with numbers, which the verifier refuses.
        let has_ulp = load(&!ulp.is_null());
        has_ulp || flags & layout.zero_copy != 0
    }

    /// The errno that the application gets from the socket; 0 where there is none, or where it is not
    /// known.
    #[inline(always)]
    pub(crate) fn error(self) -> u32 {
        if self.raw.is_null() {
            return 0;
        }
        // SAFETY: as in `is_taken`.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.raw.cast()) }.cast::<c_void>();
        // SAFETY: the static does not change once the program is loaded.
        let offset = unsafe { ptr::read_volatile(&raw const SOCKET_ERROR_AT) };
        if tcp.is_null() || offset == 0 {
            return 0;
        }
        // SAFETY: the kernel's own description says that this word of the socket is there.
        unsafe { at::<u32>(tcp, offset) }
    }

    /// Whether the socket is one of the agent's that go where they ask to.
    #[inline(always)]
    pub(crate) fn is_direct(self) -> bool {
        let map = (&raw const maps::direct).cast_mut().cast();
        !self.storage(map, false).is_null()
    }

    #[inline(always)]
    fn storage(self, map: *mut c_void, create: bool) -> *mut c_void {
        let flags = if create { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
        if self.raw.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: `raw` comes from a context of this run; the storage lives as long as it.
        unsafe { bpf_sk_storage_get(map, self.raw.cast(), ptr::null_mut(), flags) }
    }
}

/// Takes a socket out of the map of those that messages are sent to: from then on it is a TCP socket
/// like any other. Not in programs for messages.
#[inline(always)]
pub(crate) fn strike(key: SocketKey) {
    let map = (&raw const maps::sockets).cast_mut().cast();
    // SAFETY: the map and the key are there for the call. It fails where the key is gone.
    unsafe { bpf_map_delete_elem(map, (&raw const key).cast()) };
}

/// # Safety
///
/// There must be a `T` in the socket at this offset.
#[inline(always)]
unsafe fn at<T>(tcp: *mut c_void, offset: u32) -> T {
    // SAFETY: the caller's promise.
    unsafe { ptr::read_volatile(tcp.wrapping_byte_add(offset as usize).cast()) }
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

/// Id of the cgroup that makes the call. Only where the caller is the running task.
#[inline(always)]
pub(crate) fn current_cgroup() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Id of its parent at a level, 0 being the root; 0 where it has none there.
#[inline(always)]
pub(crate) fn current_ancestor(level: u32) -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_ancestor_cgroup_id(level.cast_signed()) }
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

/// A backend. Of one in use, only the flags change as long as this program runs.
#[inline(always)]
pub(crate) fn backend(index: BackendIndex) -> Option<&'static Backend> {
    // SAFETY: as in `copy`.
    maps::backends.get_ptr(index.index).map(|backend| unsafe { &*backend })
}

/// Reads an address word by word: left to itself, the compiler copies it byte by byte.
#[inline(always)]
pub(crate) fn address(address: &IpKey) -> IpKey {
    let words = ptr::from_ref(address).cast::<u32>();
    // SAFETY: a reference is valid; an address is four aligned words.
    unsafe {
        IpKey::from_v6_words([
            ptr::read_volatile(words),
            ptr::read_volatile(words.add(1)),
            ptr::read_volatile(words.add(2)),
            ptr::read_volatile(words.add(3)),
        ])
    }
}

/// Reads what other programs or user space change at any time.
#[inline(always)]
pub(crate) fn load<T: Copy>(value: &T) -> T {
    // SAFETY: a reference is valid.
    unsafe { ptr::read_volatile(value) }
}

/// Writes what other programs or user space read at any time.
#[inline(always)]
pub(crate) fn store<T: Copy>(to: &mut T, value: T) {
    // SAFETY: a reference is valid.
    unsafe { ptr::write_volatile(to, value) };
}

/// Adds to a counter. Atomic also where it is per CPU, because a program in process context can
/// be interrupted by one in softirq.
#[inline(always)]
pub(crate) fn add(counter: &mut u64, by: u64) {
    // SAFETY: a valid, aligned pointer to a map value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(ptr::from_mut(counter), by) };
}

/// Adds to a number that all CPUs share, and says what it was before. Not relaxed: the BPF backend
/// makes a relaxed addition one that fetches nothing, and the result would be `by`.
#[inline(always)]
pub(crate) fn take(counter: &mut u64, by: u64) -> u64 {
    // SAFETY: as in `add`.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(ptr::from_mut(counter), by) }
}

/// Subtracts from a number that all CPUs share.
#[inline(always)]
pub(crate) fn subtract(counter: &mut u64, by: u64) {
    // SAFETY: as in `add`.
    unsafe { atomic_xsub::<u64, u64, { AtomicOrdering::Relaxed }>(ptr::from_mut(counter), by) };
}

/// Replaces `from` by `to`; false where something else was there.
#[inline(always)]
pub(crate) fn claim(place: &mut u64, from: u64, to: u64) -> bool {
    // SAFETY: as in `add`.
    let (_, claimed) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
            ptr::from_mut(place),
            from,
            to,
        )
    };
    claimed
}

/// The same for a word of 32 bits.
#[inline(always)]
pub(crate) fn exchange(place: &mut u32, from: u32, to: u32) -> bool {
    // SAFETY: as in `add`.
    let (_, exchanged) = unsafe {
        atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
            ptr::from_mut(place),
            from,
            to,
        )
    };
    exchanged
}

/// The value behind a lookup in an array that only programs write.
#[inline(always)]
pub(crate) fn shared<T>(value: Option<*mut T>) -> Option<&'static mut T> {
    // SAFETY: valid until the program ends; what others write at the same time is read and
    // written through the functions above.
    value.map(|value| unsafe { &mut *value })
}

/// Sets flags of a record that may have become another socket's meanwhile: nothing else of it
/// changes, whoever writes it at the same time.
#[inline(always)]
pub(crate) fn set_flags(record: &mut ConnRecord, flags: ConnFlags) {
    const WORD: usize = offset_of!(ConnRecord, flags) / 8;
    const SHIFT: usize = offset_of!(ConnRecord, flags) % 8 * 8;
    let word = ptr::from_mut(record).cast::<u64>().wrapping_add(WORD);
    let bits = u64::from(flags.bits) << SHIFT;
    // SAFETY: an aligned word within the record; the target's first byte is the lowest.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bits) };
}

/// Copies a record word by word: left to itself, the compiler copies it byte by byte.
#[inline(always)]
pub(crate) fn store_record(to: &mut ConnRecord, record: &ConnRecord) {
    const WORDS: usize = size_of::<ConnRecord>() / 8;
    let from = ptr::from_ref(record).cast::<u64>();
    let to = ptr::from_mut(to).cast::<u64>();
    let mut at = 0;
    while at < WORDS {
        // SAFETY: both are records: a whole number of aligned words.
        unsafe { ptr::write_volatile(to.add(at), ptr::read(from.add(at))) };
        at += 1;
    }
}

/// Sends a change of a guard, and calls the reader, whatever waits before it; false where the ring is
/// full.
#[inline(always)]
pub(crate) fn tell(transition: &Transition) -> bool {
    maps::events.output_untyped::<Transition>(transition, BPF_RB_FORCE_WAKEUP.into()).is_ok()
}

/// Sends an event; false where the ring is full. Nobody is woken for it, which would cost more than all
/// the rest: the reader looks by itself, and is called once for each part of the ring that has filled.
#[inline(always)]
pub(crate) fn send(event: &Event) -> bool {
    const PART: u64 = 64 << 10;
    /// `BPF_RINGBUF_HDR_SZ`, before each record.
    const HEADER: usize = 8;
    // SAFETY: the map is a ring.
    let waiting = unsafe {
        bpf_ringbuf_query((&raw const maps::events).cast_mut().cast(), BPF_RB_AVAIL_DATA.into())
    };
    let fills = waiting >= PART && waiting % PART < (HEADER + size_of::<Event>()) as u64;
    let flags = if fills { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    maps::events.output_untyped::<Event>(event, flags.into()).is_ok()
}

/// Sends an event that is made where it is sent from, for programs without room on their stack; false
/// where the ring is full. Nobody is woken for it.
#[inline(always)]
pub(crate) fn send_in_place(event: impl FnOnce() -> Event) -> bool {
    let Some(mut room) = maps::events.reserve_untyped::<Event>(0) else { return false };
    room.write(event());
    room.submit(BPF_RB_NO_WAKEUP.into());
    true
}
