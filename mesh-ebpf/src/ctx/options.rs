//! Socket options that the programs read and set (`include/uapi/linux/tcp.h`).

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_getsockopt, bpf_setsockopt};

use super::{SockAddr, SockOps};

const SOL_SOCKET: i32 = 1;
const SOL_TCP: i32 = 6;
const SO_KEEPALIVE: i32 = 9;
const SO_RCVLOWAT: i32 = 18;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_KEEPCNT: i32 = 6;
const TCP_SYNCNT: i32 = 7;
const TCP_USER_TIMEOUT: i32 = 18;

const INT: i32 = 4;

/// A context whose socket has options. Minimum kernel: 5.9 to set them, 6.1 to read them.
pub(crate) trait Options {
    /// The context.
    fn context(&self) -> *mut c_void;

    #[inline(always)]
    fn set(&self, level: i32, option: i32, value: u32) -> bool {
        let mut value = value;
        // SAFETY: the kernel passes a valid context for the whole run; the value is 4 bytes.
        unsafe { bpf_setsockopt(self.context(), level, option, (&raw mut value).cast(), INT) == 0 }
    }

    /// `None` where the kernel cannot read this one.
    #[inline(always)]
    fn get(&self, level: i32, option: i32) -> Option<u32> {
        let mut value = 0_u32;
        // SAFETY: as in `set`.
        let failed = unsafe {
            bpf_getsockopt(self.context(), level, option, (&raw mut value).cast(), INT) != 0
        };
        // SAFETY: a local variable; volatile, because the helper wrote it.
        if failed { None } else { Some(unsafe { ptr::read_volatile(&raw const value) }) }
    }

    /// Times that the SYN is sent again.
    #[inline(always)]
    fn set_syn_retries(&self, times: u32) {
        self.set(SOL_TCP, TCP_SYNCNT, times);
    }

    /// `TCP_USER_TIMEOUT`, milliseconds; 0: none.
    #[inline(always)]
    fn user_timeout(&self) -> Option<u32> {
        self.get(SOL_TCP, TCP_USER_TIMEOUT)
    }

    /// Sets it; whether that worked.
    #[inline(always)]
    fn set_user_timeout(&self, ms: u32) -> bool {
        self.set(SOL_TCP, TCP_USER_TIMEOUT, ms)
    }

    /// Whether the application asked for keep-alive, or that cannot be known.
    #[inline(always)]
    fn keeps_alive(&self) -> bool {
        self.get(SOL_SOCKET, SO_KEEPALIVE) != Some(0)
    }

    /// Probes after `idle` seconds, every `interval` seconds, `count` times.
    #[inline(always)]
    fn keep_alive(&self, idle: u32, interval: u32, count: u32) {
        self.set(SOL_SOCKET, SO_KEEPALIVE, 1);
        self.set(SOL_TCP, TCP_KEEPIDLE, idle);
        self.set(SOL_TCP, TCP_KEEPINTVL, interval);
        self.set(SOL_TCP, TCP_KEEPCNT, count);
    }
}

impl SockOps {
    /// Seconds before the first probe and between two, and how many of them.
    #[inline(always)]
    pub(crate) fn keep_alive_times(&self) -> (u32, u32, u32) {
        let get = |option, default| self.get(SOL_TCP, option).unwrap_or(default);
        // What the system's settings say can be more than an application may ask for.
        let most = |value: u32, most: u32| if value < most { value } else { most };
        let idle = most(get(TCP_KEEPIDLE, 7_200), 32_767);
        let interval = most(get(TCP_KEEPINTVL, 75), 32_767);
        (idle, interval, most(get(TCP_KEEPCNT, 9), 127))
    }

    /// Sends no probes any more.
    #[inline(always)]
    pub(crate) fn keep_no_longer_alive(&self) {
        self.set(SOL_SOCKET, SO_KEEPALIVE, 0);
    }

    /// Wakes who waits for data that is there. Setting the option does it (`tcp_set_rcvlowat`), also to
    /// what it was.
    #[inline(always)]
    pub(crate) fn wake_reader(&self) {
        let bytes = self.get(SOL_SOCKET, SO_RCVLOWAT).unwrap_or(1);
        self.set(SOL_SOCKET, SO_RCVLOWAT, bytes);
    }
}

impl<const V6: bool> Options for SockAddr<V6> {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.raw().cast()
    }
}

impl Options for SockOps {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.raw().cast()
    }
}
