//! A socket that is not the context's: the other end of an accelerated connection, by where it is in
//! the kernel's memory.
//!
//! Whoever looks must know that the socket lives, or not mind what it sees: the kernel gives the memory
//! of a TCP socket only to TCP sockets (`SLAB_TYPESAFE_BY_RCU`), and reading what is gone is no fault.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use super::socket_layout;

/// `SK_USER_DATA_PSOCK` and the bits below it (`include/net/sock.h`). Minimum kernel: 6.0.
const PSOCK: u64 = 4;
const BITS: u64 = 7;

/// A TCP socket.
#[derive(Clone, Copy)]
pub(crate) struct Elsewhere {
    /// Its address.
    pub(crate) at: u64,
}

impl Elsewhere {
    /// Bytes that wait for its reader, those that were redirected among them (Linux 6.13).
    #[inline(always)]
    pub(crate) fn waiting(self) -> Option<u64> {
        read::<u32>(self.at + u64::from(socket_layout().waiting_at)).map(u64::from)
    }

    /// Whether it has an upper layer protocol such as kernel TLS, which decodes what comes by TCP.
    #[inline(always)]
    pub(crate) fn has_protocol(self) -> bool {
        read::<u64>(self.at + u64::from(socket_layout().ulp_at)).unwrap_or(0) != 0
    }

    /// Whether calls on it wait in the kernel: its file has no `O_NONBLOCK`. Not one that the application
    /// has not accepted.
    #[inline(always)]
    pub(crate) fn blocks(self) -> bool {
        const O_NONBLOCK: u32 = 0o4000;
        let layout = socket_layout();
        let pointer = |from: u64, at: u32| {
            if from == 0 { 0 } else { read::<u64>(from + u64::from(at)).unwrap_or(0) }
        };
        let file = pointer(pointer(self.at, layout.socket_at), layout.file_at);
        file != 0
            && read::<u32>(file + u64::from(layout.file_flags_at)).unwrap_or(0) & O_NONBLOCK == 0
    }

    /// Whether it is in a map of sockets, or a call that began when it was still goes on.
    #[inline(always)]
    pub(crate) fn is_enlisted(self) -> bool {
        self.psock() != 0
    }

    /// Whether its reader has taken all that was redirected.
    #[inline(always)]
    pub(crate) fn is_drained(self) -> bool {
        let queue = self.psock() + u64::from(socket_layout().queue_at);
        // A list that is empty begins with itself.
        read::<u64>(queue) == Some(queue)
    }

    /// Whether a call that sends or receives on it may be going on, other than by TCP alone.
    #[inline(always)]
    pub(crate) fn is_busy(self) -> bool {
        self.is_enlisted() && !self.has_users(1)
    }

    /// Whether so many use it as a socket of maps: each map that it is in, and each call that sends or
    /// receives. In that order: a map takes it off its list before it gives its use back.
    #[inline(always)]
    pub(crate) fn has_users(self, count: u32) -> bool {
        let psock = self.psock();
        let links = psock + u64::from(socket_layout().links_at);
        read::<u32>(psock + u64::from(socket_layout().users_at)) == Some(count)
            && read::<u64>(links) != Some(links)
    }

    /// What the kernel keeps of a socket that is in a map (`struct sk_psock`); 0 if it is in none.
    #[inline(always)]
    fn psock(self) -> u64 {
        let data = read::<u64>(self.at + u64::from(socket_layout().user_data_at)).unwrap_or(0);
        if data & PSOCK == 0 { 0 } else { data & !BITS }
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "words of 32 and 64 bits")]
fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let size = size_of::<T>() as u32;
    // SAFETY: the helper checks the address, and fills `value` or says that it has not.
    unsafe {
        let read = bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, address as *const c_void);
        if read == 0 { Some(value.assume_init()) } else { None }
    }
}
