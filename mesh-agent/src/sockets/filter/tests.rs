//! The filter, run by the kernel's rules.

use proptest::prelude::*;

use super::*;
use crate::sockets::wire::tests::any_address;

/// `inet_diag_bc_run` for what the filter uses; every jump is checked as `inet_diag_bc_audit`
/// does. The socket's own address and its peer's as they are stored: mapped where `mapped`.
fn run(code: &[u8], own: SocketAddr, peer: SocketAddr, mapped: bool) -> bool {
    let mut at = 0;
    while at < code.len() {
        let (op, yes) = (code[at], usize::from(code[at + 1]));
        let no = usize::from(u16::from_ne_bytes([code[at + 2], code[at + 3]]));
        let left = code.len() - at;
        assert!(no % 4 == 0 && no <= left + 4, "a jump within, or four bytes behind");
        assert!(yes.is_multiple_of(4) && yes <= left, "the next operation");
        let holds = match op {
            INET_DIAG_BC_JMP => false,
            INET_DIAG_BC_D_COND | INET_DIAG_BC_S_COND => {
                let peer = if op == INET_DIAG_BC_D_COND { peer } else { own };
                let (family, bits) = (code[at + 4], code[at + 5]);
                let port = u32::from_ne_bytes(code[at + 8..at + 12].try_into().unwrap());
                let length = usize::from(bits / 8);
                assert_eq!(yes, 12 + length, "the length of the operation");
                let address = &code[at + 12..at + 12 + length];
                let same = match (family, peer.ip()) {
                    // Also where the socket is of IPv6 and the peer mapped.
                    (2, IpAddr::V4(ip)) => ip.octets() == address,
                    (10, IpAddr::V6(ip)) => ip.octets() == address,
                    (10, IpAddr::V4(ip)) if mapped => ip.to_ipv6_mapped().octets() == address,
                    _ => false,
                };
                same && port == u32::from(peer.port())
            }
            other => panic!("operation {other}"),
        };
        at += if holds { yes } else { no };
    }
    at == code.len()
}

proptest! {
    #[test]
    fn exactly_those_with_the_addresses_pass(
        addresses in prop::collection::vec(any_address(), 0..12),
        own in any_address(), peer in any_address(),
    ) {
        prop_assume!(own.is_ipv4() == peer.is_ipv4());
        let families =
            if peer.is_ipv4() { vec![Family::V4, Family::V6] } else { vec![Family::V6] };
        for family in families {
            let passes = |which| to_any(&addresses, which, family).iter()
                .any(|code| run(code, own, peer, family == Family::V6));
            let is_peer = addresses.contains(&peer);
            prop_assert_eq!(passes(Which::Peer), is_peer);
            prop_assert_eq!(passes(Which::Either), is_peer || addresses.contains(&own));
        }
    }
}

fn many(number: u16) -> Vec<SocketAddr> {
    (0..number).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect()
}

#[test]
fn many_peers_are_left_to_user_space() {
    let peers = many(200);
    assert_eq!(to_any(&peers, Which::Peer, Family::V4), [Vec::<u8>::new()]);
    let filters = to_any(&peers[..MOST], Which::Peer, Family::V4);
    let [code] = filters.as_slice() else { panic!("{filters:?}") };
    assert!(run(code, peers[MOST], peers[MOST - 1], false));
    assert!(!run(code, peers[0], peers[MOST], false));
}

#[test]
fn more_addresses_than_a_filter_holds_take_several_dumps_up_to_a_limit() {
    let most = DUMPS * MOST / 2;
    let all = many(u16::try_from(most).unwrap() + 1);
    let elsewhere = SocketAddr::from(([10, 0, 0, 2], 0));
    for (number, dumps) in [(1, 1), (32, 1), (33, 2), (most - 1, DUMPS), (most, DUMPS)] {
        let filters = to_any(&all[..number], Which::Either, Family::V4);
        assert_eq!(filters.len(), dumps, "of {number}");
        let lists = |own, peer| filters.iter().filter(|code| run(code, own, peer, false)).count();
        for address in &all[..number] {
            // Exactly one lists a socket with one of them: none is overlooked, none seen twice.
            assert_eq!((lists(*address, elsewhere), lists(elsewhere, *address)), (1, 1));
        }
        assert_eq!(lists(all[number], elsewhere) + lists(elsewhere, all[number]), 0);
    }
    assert_eq!(to_any(&all, Which::Either, Family::V4), [Vec::<u8>::new()]);
}

#[test]
fn a_family_without_addresses_is_not_asked() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(to_any(&["[fd00::1]:1".parse().unwrap()], Which::Either, Family::V4), none);
    assert_eq!(to_any(&[], Which::Peer, Family::V6), none);
}
