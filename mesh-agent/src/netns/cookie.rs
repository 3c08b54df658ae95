//! The socket option that nix does not list.

use std::io;

use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};

/// `SO_NETNS_COOKIE`: cookie of the network namespace that a socket belongs to.
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;

nix::getsockopt_impl!(NetnsCookie, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, u64, GetStruct<u64>);

/// Cookie of this thread's network namespace. Minimum kernel: 5.14.
pub(super) fn netns_cookie() -> io::Result<u64> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    Ok(getsockopt(&socket, NetnsCookie)?)
}
