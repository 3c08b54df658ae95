//! A filter by address that the kernel runs over its sockets, so that a dump carries only those
//! asked for (`inet_diag_bc_run` in `net/ipv4/inet_diag.c`). Pure.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use super::wire::Family;

/// Conditions of a filter. The kernel looks at each in turn, for each socket.
const MOST: usize = 64;

/// Dumps of so many addresses each that take less time than one of all sockets.
const DUMPS: usize = 4;

const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_COND: u8 = 7;
const INET_DIAG_BC_D_COND: u8 = 8;
/// Length of `struct inet_diag_bc_op`.
const OP: u8 = 4;

/// Which address of a socket is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Its peer's.
    Peer,
    /// Its peer's or its own.
    Either,
}

impl Which {
    /// The conditions for an address.
    const fn codes(self) -> &'static [u8] {
        match self {
            Self::Peer => &[INET_DIAG_BC_D_COND],
            Self::Either => &[INET_DIAG_BC_D_COND, INET_DIAG_BC_S_COND],
        }
    }

    /// How many dumps are cheaper than one of all sockets. One where each peer's sockets are to be
    /// seen once and at one moment.
    const fn dumps(self) -> usize {
        match self {
            Self::Peer => 1,
            Self::Either => DUMPS,
        }
    }
}

/// The filters of the dumps that together list each socket with one of these addresses, and no others;
/// one filter that is empty, which lets all pass, where there are too many. None where no socket of
/// the family can have such an address. With [`Which::Either`], a socket that has two of the
/// addresses can be in two dumps.
pub(super) fn to_any(addresses: &[SocketAddr], which: Which, family: Family) -> Vec<Vec<u8>> {
    let possible = |address: &&SocketAddr| address.is_ipv4() || family == Family::V6;
    let addresses: Vec<&SocketAddr> = addresses.iter().filter(possible).collect();
    let codes = which.codes();
    let dumps: Vec<_> = addresses.chunks(MOST / codes.len()).collect();
    if dumps.len() > which.dumps() {
        return vec![Vec::new()];
    }
    let filter = |part: &[&SocketAddr]| {
        let of = |address| codes.iter().map(move |code| condition(*code, address));
        any(&part.iter().copied().flat_map(of).collect::<Vec<_>>())
    };
    dumps.into_iter().map(filter).collect()
}

/// Lets sockets pass for which one of these conditions holds.
fn any(conditions: &[Vec<u8>]) -> Vec<u8> {
    // Each condition that holds goes on to a jump behind the last; each that does not skips that
    // jump. Exactly behind the last is "yes", four bytes further is "no".
    let mut code = Vec::new();
    for condition in conditions.iter().rev() {
        let behind = code.len();
        let mut part = condition.clone();
        if behind > 0 {
            let jump = u16::try_from(usize::from(OP) + behind).unwrap_or(u16::MAX);
            part.extend([INET_DIAG_BC_JMP, OP]);
            part.extend(jump.to_ne_bytes());
        }
        code.splice(0..0, part);
    }
    code
}

/// `struct inet_diag_bc_op` and `struct inet_diag_hostcond`: is this the peer, or its own address?
/// An IPv4 address also stands for its mapped form.
fn condition(code: u8, peer: &SocketAddr) -> Vec<u8> {
    let (family, address) = match peer.ip() {
        IpAddr::V4(ip) => (Family::V4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (Family::V6, ip.octets().to_vec()),
    };
    let address_length = if family == Family::V4 { 4 } else { 16 };
    let length: u8 = OP + 8 + address_length;
    let mut bytes = vec![code, length];
    bytes.extend(u16::from(length + OP).to_ne_bytes());
    bytes.extend([family.number(), address_length * 8, 0, 0]);
    bytes.extend(u32::from(peer.port()).to_ne_bytes());
    bytes.extend(address);
    bytes
}
