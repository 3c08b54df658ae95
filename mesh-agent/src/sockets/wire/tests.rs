//! The kernel's format, written by hand from its headers and read back.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

const INODE: u32 = 77_777;

/// A message of a dump as the kernel would write it, about a socket of IPv4 where both addresses
/// are, else of IPv6, mapped where needed.
fn kernel_message(cookie: u64, state: u8, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let v4 = local.is_ipv4() && remote.is_ipv4();
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) if v4 => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&ip.octets());
            padded
        }
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut body = vec![if v4 { 2 } else { 10 }, state, 0, 0];
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(octets(local.ip()));
    body.extend(octets(remote.ip()));
    body.extend(3u32.to_ne_bytes());
    body.extend(u32::try_from(cookie & 0xffff_ffff).unwrap().to_ne_bytes());
    body.extend(u32::try_from(cookie >> 32).unwrap().to_ne_bytes());
    body.extend([0; 16]);
    body.extend(INODE.to_ne_bytes());
    message(SOCK_DIAG_BY_FAMILY, 2, 1, &body)
}

/// A socket as a dump tells it.
pub(in crate::sockets) fn socket(cookie: u64, protocol: Protocol, remote: SocketAddr) -> Socket {
    let local: SocketAddr = if remote.is_ipv4() { "10.0.0.1:4000" } else { "[fd00::1]:4000" }
        .parse()
        .expect("an address");
    let message = kernel_message(cookie, 1, local, remote);
    let reply = replies(&message, protocol).next();
    let Some(Reply::Socket(socket)) = reply else { panic!("{reply:?}") };
    *socket
}

pub(in crate::sockets) fn any_address() -> impl Strategy<Value = SocketAddr> {
    // Few different ones, so that they meet.
    let ip = prop_oneof![
        (1u8..4).prop_map(|n| IpAddr::from([10, 0, 0, n])),
        (1u16..4).prop_map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
    ];
    (ip, 80u16..83).prop_map(SocketAddr::from)
}

#[test]
fn stored_values_are_found() {
    let value = attribute(SK_DIAG_BPF_STORAGE_MAP_VALUE, &[7; 8]);
    let id = attribute(2, &1u32.to_ne_bytes());
    let map = attribute(SK_DIAG_BPF_STORAGE, &[id, value].concat());
    // The kernel marks what contains others (NLA_F_NESTED).
    let nested = attribute(INET_DIAG_SK_BPF_STORAGES | 0x8000, &map);
    let shutdown = [5, 0, 8, 0, 1, 0, 0, 0];
    let address = "10.0.0.1:1".parse().unwrap();
    let mut bytes = kernel_message(1, 1, address, address);
    bytes.extend([&shutdown[..], &nested].concat());
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    let reply = replies(&bytes, Protocol::Tcp).next();
    let Some(Reply::Socket(socket)) = reply else { panic!("{reply:?}") };
    assert_eq!((socket.storage.as_slice(), socket.upper_layer), (&[7; 8][..], false));
}

#[test]
fn what_tcp_has_carried_is_found() {
    let mut info = [0; 232];
    for (at, number) in [(120, 11u64), (128, 12)] {
        info[at..at + 8].copy_from_slice(&number.to_ne_bytes());
    }
    for (at, number) in [(152, 13u32), (156, 14)] {
        info[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    let address = "10.0.0.1:1".parse().unwrap();
    let mut bytes = kernel_message(1, 1, address, address);
    bytes.extend(attribute(INET_DIAG_INFO, &info));
    // The name of the protocol, and what it tells of itself.
    bytes.extend(attribute(INET_DIAG_ULP_INFO | 0x8000, &attribute(1, b"tls\0")));
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    let reply = replies(&bytes, Protocol::Tcp).next();
    let Some(Reply::Socket(socket)) = reply else { panic!("{reply:?}") };
    let carried =
        Carried { bytes_acked: 11, bytes_received: 12, segments_in: 13, segments_out: 14 };
    assert_eq!((socket.carried, socket.inode, socket.upper_layer), (carried, INODE, true));
    // It is asked for by its bit.
    let request = dump(Family::V4, Protocol::Tcp, &[], Extra::Carried, 1);
    assert_eq!(request[18], 2);
}

proptest! {
    #[test]
    fn any_attributes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0u16..30,
    ) {
        prop_assert!(find(&bytes, kind).is_none_or(|found| found.len() + 4 <= bytes.len()));
    }

    #[test]
    fn what_the_kernel_tells_is_read(
        cookie: u64, state in 1u8..12, local in any_address(), remote in any_address(),
    ) {
        let mut datagram = kernel_message(cookie, state, local, remote);
        datagram.extend(message(NLMSG_DONE, 2, 7, &0i32.to_ne_bytes()));
        let all: Vec<_> = replies(&datagram, Protocol::Udp).collect();
        let [Reply::Socket(socket), end] = all.as_slice() else { panic!("{all:?}") };
        prop_assert_eq!(end, &Reply::End { sequence: 7, errno: 0 });
        prop_assert_eq!(socket.cookie, cookie);
        prop_assert_eq!(socket.state, State(state));
        prop_assert_eq!((socket.local, socket.remote), (local, remote));
        // The request to destroy it names it byte for byte.
        let request = destroy(socket, 9);
        prop_assert_eq!(request.len(), 16 + 8 + 48);
        prop_assert_eq!(&request[24..], &datagram[20..68]);
        prop_assert_eq!(request[16], datagram[16]);
        prop_assert_eq!(request[17], 17);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        replies(&bytes, Protocol::Tcp).for_each(drop);
    }

    #[test]
    fn a_cut_datagram_ends_early(cut in 0usize..100) {
        let whole = kernel_message(1, 1, "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        prop_assume!(cut < whole.len());
        prop_assert_eq!(replies(&whole[..cut], Protocol::Tcp).count(), 0);
    }
}

#[test]
fn refusals_carry_an_errno() {
    let refusal = message(NLMSG_ERROR, 0, 4, &(-95i32).to_ne_bytes());
    let all: Vec<_> = replies(&refusal, Protocol::Tcp).collect();
    assert_eq!(all, [Reply::End { sequence: 4, errno: 95 }]);
}

#[test]
fn states_are_bits() {
    assert_eq!(states(Protocol::Udp), 0b10);
    assert_eq!(states(Protocol::Tcp), 0b1011_0011_0110);
}
