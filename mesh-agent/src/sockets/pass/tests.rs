//! Who is ended, against the rule written out; and what follows from what went wrong.

use std::collections::BTreeSet;
use std::io;

use mesh_common::backend::BackendIndex;
use mesh_common::conn::{ConnGroup, ConnRecord};
use mesh_common::logic::table::{group, place};
use proptest::prelude::*;

use super::*;
use crate::sockets::wire::tests::{any_address, socket};

fn id(index: u32) -> BackendId {
    BackendId { index: BackendIndex { index }, generation: 1 }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

fn removal(index: u32, protocol: Protocol, address: SocketAddr) -> Removal {
    Removal { backend: id(index), address, protocol, drain_timeout: None }
}

proptest! {
    #[test]
    fn only_what_was_sent_there_and_is_there_is_ended(
        due in prop::collection::btree_map(0u32..4, (protocol(), any_address()), 0..4),
        sockets in prop::collection::btree_map(0u64..30, (protocol(), any_address()), 0..30),
        records in prop::collection::hash_map(0u64..30, 0u32..6, 0..30),
    ) {
        let due: Vec<_> = due.into_iter().map(|(index, (p, at))| removal(index, p, at)).collect();
        let records: Records = records.into_iter().map(|(c, index)| (c, id(index))).collect();
        let mut pass = Pass::new(&due, &records);
        let mut ended = BTreeSet::new();
        for kind in [Protocol::Tcp, Protocol::Udp] {
            let peers = pass.peers(kind);
            for (cookie, (protocol, remote)) in &sockets {
                if *protocol == kind && peers.contains(remote) {
                    let socket = socket(*cookie, *protocol, *remote);
                    if pass.wants(&socket) {
                        ended.insert(*cookie);
                        pass.ended(&socket, &Fate::Destroyed);
                        prop_assert!(!pass.wants(&socket), "once");
                    }
                }
            }
        }
        let rule = sockets.iter().filter(|(cookie, (protocol, remote))| {
            due.iter().any(|removal| {
                records.table.get(cookie) == Some(&removal.backend)
                    && removal.address == *remote
                    && removal.protocol == *protocol
            })
        });
        let rule: BTreeSet<_> = rule.map(|(cookie, _)| *cookie).collect();
        prop_assert_eq!(&ended, &rule);
        let (report, looks) = pass.finish();
        prop_assert_eq!(
            report.sockets.tcp.destroyed + report.sockets.udp.destroyed,
            u64::try_from(rule.len()).unwrap()
        );
        prop_assert!(looks.iter().all(|(_, look)| *look == Look::Done));
    }
}

/// Two backends with a socket each; `act` sees the pass, and the sockets.
fn looks(act: impl FnOnce(&mut Pass<'_>, &[Socket; 2])) -> (Report, Vec<Look>) {
    let address: SocketAddr = "10.0.0.1:53".parse().unwrap();
    let due = [removal(1, Protocol::Udp, address), removal(2, Protocol::Udp, address)];
    let records = Records::from_iter([(11, id(1)), (12, id(2))]);
    let mut pass = Pass::new(&due, &records);
    act(&mut pass, &[socket(11, Protocol::Udp, address), socket(12, Protocol::Udp, address)]);
    let (report, looks) = pass.finish();
    (report, looks.into_iter().map(|(_, look)| look).collect())
}

fn broken() -> DiagError {
    DiagError::Open(io::Error::from(io::ErrorKind::PermissionDenied))
}

#[test]
fn an_error_elsewhere_matters_only_where_a_socket_is_missing() {
    let (report, looks) = looks(|pass, [first, _]| {
        pass.error("blue".to_owned(), broken());
        assert!(pass.wants(first));
        pass.ended(first, &Fate::Destroyed);
    });
    assert_eq!(looks, [Look::Done, Look::Failed]);
    assert_eq!((report.without_socket, report.errors.len()), (1, 1));
}

#[test]
fn a_missing_socket_is_no_failure_where_all_was_seen() {
    let (report, looks) = looks(|_, _| {});
    assert_eq!(looks, [Look::Done, Look::Done]);
    assert_eq!(report.without_socket, 2);
}

#[test]
fn a_kernel_that_cannot_is_not_asked_again() {
    let (report, looks) = looks(|pass, [first, second]| {
        assert!(pass.wants(first) && pass.wants(second));
        pass.ended(first, &Fate::Unsupported);
        pass.ended(second, &Fate::Gone);
        assert!(pass.is_complete());
    });
    assert_eq!(looks, [Look::Impossible, Look::Failed]);
    assert_eq!(report.sockets.udp, Counts { unsupported: 1, gone: 1, ..Counts::default() });
}

#[test]
fn where_the_table_had_no_room_the_sockets_storage_tells() {
    let address: SocketAddr = "10.0.0.1:53".parse().unwrap();
    let due = [removal(1, Protocol::Tcp, address), removal(3, Protocol::Udp, address)];
    let records = Records {
        overflow: Some(tempfile::tempfile().unwrap().into()),
        ..Records::from_iter([(11, id(2))])
    };
    let mut pass = Pass::new(&due, &records);
    assert!(!pass.is_complete());
    assert_eq!(pass.peers(Protocol::Tcp), [address]);
    assert!(pass.peers(Protocol::Udp).is_empty(), "the kernel does not tell of datagram sockets");
    let stored = |cookie, backend: BackendId| {
        let mut socket = socket(cookie, Protocol::Tcp, address);
        socket.storage = vec![0; 64];
        socket.storage[40..44].copy_from_slice(&backend.index.index.to_ne_bytes());
        socket.storage[44..48].copy_from_slice(&backend.generation.to_ne_bytes());
        socket
    };
    assert!(pass.wants(&stored(12, id(1))));
    assert!(!pass.wants(&stored(12, id(1))), "once");
    assert!(!pass.wants(&stored(13, id(2))), "sent elsewhere");
    assert!(!pass.wants(&stored(11, id(1))), "the table comes first");
    assert!(!pass.wants(&socket(14, Protocol::Tcp, address)), "no record at all");
    // What could not be searched may hold more.
    pass.error("blue".to_owned(), broken());
    let looks: Vec<_> = pass.finish().1.into_iter().map(|(_, look)| look).collect();
    assert_eq!(looks, [Look::Failed, Look::Done]);
}

#[test]
fn records_are_read_from_the_table_as_the_programs_lay_them_out() {
    let cookies = [70_001u64, 70_002, 70_005, 70_010];
    let mut groups = vec![ConnGroup::default(); 32_768];
    let mut table = BTreeMap::new();
    for (cookie, backend) in cookies.into_iter().zip([id(1), id(2), id(1), id(3)]) {
        let number = group(cookie);
        let cookies = &mut groups[usize::try_from(number).unwrap()].cookies;
        let way = cookies.iter().position(|taken| *taken == 0).unwrap();
        cookies[way] = cookie;
        let BackendId { index: backend, generation } = backend;
        let record = ConnRecord { backend, generation, ..ConnRecord::default() };
        table.insert(place(number, way), record);
    }
    let records =
        Records::read(&BTreeSet::from([id(1), id(3)]), groups, |at| table.get(&at).copied());
    let expected: Records =
        [(70_001, id(1)), (70_005, id(1)), (70_010, id(3))].into_iter().collect();
    assert_eq!(records.table, expected.table);
    assert!(records.overflow().is_none());
}
