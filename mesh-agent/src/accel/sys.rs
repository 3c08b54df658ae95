//! What sockets are asked that no library asks: two options, and how much can be read.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Sets an option of `SOL_SOCKET` that is a number.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    let value = &raw const value;
    let socket = socket.as_raw_fd();
    // SAFETY: the descriptor is open, and `value` is as long as `length` says.
    let result =
        unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, option, value.cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `FIONREAD`: how many bytes can be read.
pub(super) fn readable(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and this request writes one number.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(count).map_err(io::Error::other)
}
