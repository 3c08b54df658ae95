//! What the programs in the kernel know a socket by.

use std::os::fd::AsFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;

#[derive(Clone, Copy, Debug)]
struct Cookie;
nix::getsockopt_impl!(Cookie, libc::SOL_SOCKET, libc::SO_COOKIE, u64, GetStruct<u64>);

/// A socket's cookie.
pub(super) fn cookie(socket: &impl AsFd) -> nix::Result<u64> {
    getsockopt(socket, Cookie)
}
