//! Sockets of removed backends are ended, and no others: real sockets in namespaces of their own.

use std::io::{self, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Context as _;
use aya::EbpfLoader;
use aya::maps::{Map, SkStorage};
use mesh_agent::bpf::object;
use mesh_agent::netns::Namespaces;
use mesh_agent::sockets::{
    BackendId, Diag, Records, Removal, Report, Socket, State, Terminator, Totals,
};
use mesh_api::model::Protocol;
use mesh_common::backend::BackendIndex;
use mesh_common::conn::ConnRecord;
use mesh_common::names;
use mesh_tests::netns::NetNs;
use mesh_tests::wait::{PATIENCE, eventually};
use mesh_tests::{require, ui};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{self, GetStruct};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, listen,
    socket,
};

/// What the programs in the kernel know a socket by.
#[derive(Clone, Copy)]
struct Cookie;
nix::getsockopt_impl!(Cookie, libc::SOL_SOCKET, libc::SO_COOKIE, u64, GetStruct<u64>);

fn cookie(socket: &impl AsFd) -> anyhow::Result<u64> {
    Ok(getsockopt(socket, Cookie)?)
}

const BACKEND: BackendId = BackendId { index: BackendIndex { index: 7 }, generation: 1 };
const OTHER: BackendId = BackendId { index: BackendIndex { index: 8 }, generation: 1 };

fn removal(protocol: Protocol, address: &str) -> anyhow::Result<Removal> {
    Ok(Removal {
        backend: BACKEND,
        address: address.parse()?,
        protocol,
        drain_timeout: Some(Duration::from_secs(30)),
    })
}

/// One look at a moment when everything is due.
fn end(removed: &[Removal], records: &[(u64, BackendId)]) -> Report {
    let mut terminator = Terminator::default();
    terminator.run(Duration::ZERO, removed, |_| Some(Records::default()));
    let later = Duration::from_secs(30);
    terminator.run(later, removed, |due| {
        assert_eq!(due.len(), removed.len());
        Some(records.iter().copied().collect())
    })
}

fn destroyed(report: &Report) -> u64 {
    assert!(report.errors.is_empty(), "{report:?}");
    let Totals { tcp, udp } = report.sockets;
    assert_eq!((tcp.failed, udp.failed, tcp.unsupported, udp.unsupported), (0, 0, 0, 0));
    tcp.destroyed + udp.destroyed
}

fn datagrams(netns: &NetNs, local: &str, peer: &str) -> anyhow::Result<UdpSocket> {
    let socket = netns.run(|| {
        let socket = UdpSocket::bind(local)?;
        socket.connect(peer)?;
        Ok::<_, io::Error>(socket)
    })??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn alive(socket: &UdpSocket) {
    assert!(socket.peer_addr().is_ok(), "still connected");
    assert!(socket.take_error().is_ok_and(|error| error.is_none()));
}

fn aborted(outcome: &io::Result<usize>) {
    let kind = outcome.as_ref().map_err(io::Error::kind);
    assert_eq!(kind, Err(ErrorKind::ConnectionAborted), "{outcome:?}");
}

#[test]
fn only_the_socket_with_a_record_is_ended_and_a_blocked_reader_is_told() -> anyhow::Result<()> {
    require::kernel()?;
    let (blue, red) = (NetNs::create("blue")?, NetNs::create("red")?);
    let peer = "127.0.0.1:5300";
    let ours = datagrams(&blue, "127.0.0.1:0", peer)?;
    // The same address in another namespace is another place; and beside it, without the mesh.
    let others = [datagrams(&red, "127.0.0.1:0", peer)?, datagrams(&blue, "127.0.0.1:0", peer)?];
    let reader = ours.try_clone()?;
    let reading = thread::spawn(move || reader.recv(&mut [0; 8]));

    let report = end(&[removal(Protocol::Udp, peer)?], &[(cookie(&ours)?, BACKEND)]);
    assert_eq!(destroyed(&report), 1);
    aborted(&reading.join().expect("the reader"));
    assert_eq!(ours.peer_addr().expect_err("no peer").kind(), ErrorKind::NotConnected);
    others.iter().for_each(alive);
    // The application may go on with the same socket.
    ours.connect("127.0.0.1:5301")?;
    alive(&ours);
    Ok(())
}

#[test]
fn other_sockets_of_the_mesh_are_left_alone() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("others")?;
    let (gone, serving) = ("127.0.0.1:5300", "127.0.0.1:5301");
    // Was sent to the backend, has connected elsewhere since.
    let moved = datagrams(&netns, "127.0.0.1:0", gone)?;
    moved.connect(serving)?;
    // Has a record from earlier and no peer now.
    let unconnected = netns.run(|| UdpSocket::bind("127.0.0.1:0"))??;
    // Was sent to the same address on behalf of another service, which still has it.
    let shared = datagrams(&netns, "127.0.0.1:0", gone)?;
    // Was sent to an earlier holder of the backend's number.
    let earlier = datagrams(&netns, "127.0.0.1:0", gone)?;
    let before = BackendId { generation: 0, ..BACKEND };
    let records = [
        (cookie(&moved)?, BACKEND),
        (cookie(&unconnected)?, BACKEND),
        (cookie(&shared)?, OTHER),
        (cookie(&earlier)?, before),
    ];

    let report = end(&[removal(Protocol::Udp, gone)?], &records);
    assert_eq!(destroyed(&report), 0);
    assert_eq!(report.without_socket, 2);
    [&moved, &shared, &earlier].into_iter().for_each(alive);
    unconnected.send_to(b"x", serving)?;
    // A TCP backend at the same address and number does not concern datagrams either.
    let report = end(&[removal(Protocol::Tcp, gone)?], &[(cookie(&shared)?, BACKEND)]);
    assert_eq!(destroyed(&report), 0);
    alive(&shared);
    Ok(())
}

#[test]
fn both_families_and_mapped_addresses() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("families")?;
    for (local, peer, address) in [
        ("127.0.0.1:0", "127.0.0.1:5300", "127.0.0.1:5300"),
        ("[::1]:0", "[::1]:5300", "[::1]:5300"),
        ("[::]:0", "[::ffff:127.0.0.1]:5300", "127.0.0.1:5300"),
    ] {
        let socket = datagrams(&netns, local, peer)?;
        let bystander = datagrams(&netns, local, &peer.replace("5300", "5301"))?;
        let found = listed(&netns, Protocol::Udp, address)?;
        assert_eq!(found.len(), 1, "the kernel filters: {found:?}");
        assert_eq!(found[0].cookie, cookie(&socket)?, "what programs know it by");
        let records = [(cookie(&socket)?, BACKEND), (cookie(&bystander)?, BACKEND)];
        let report = end(&[removal(Protocol::Udp, address)?], &records);
        assert_eq!(destroyed(&report), 1, "{peer}");
        aborted(&socket.recv(&mut [0; 8]));
        alive(&bystander);

        let server = netns.run(|| TcpListener::bind(peer))??;
        let mut client = netns.run(|| TcpStream::connect(peer))??;
        let (mut accepted, _) = server.accept()?;
        for stream in [&client, &accepted] {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let report = end(&[removal(Protocol::Tcp, address)?], &[(cookie(&client)?, BACKEND)]);
        assert_eq!(destroyed(&report), 1, "{peer}");
        aborted(&client.read(&mut [0; 8]));
        let error = accepted.read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    Ok(())
}

#[test]
fn streams_get_their_time_and_half_closed_ones_are_found() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("drain")?;
    let address = "127.0.0.1:8080";
    let server = netns.run(|| TcpListener::bind(address))??;
    let mut clients = Vec::new();
    let mut accepted = Vec::new();
    for _ in 0..3 {
        clients.push(netns.run(|| TcpStream::connect(address))??);
        accepted.push(server.accept()?.0);
    }
    // One the client has closed for writing, one the server has.
    clients[1].shutdown(std::net::Shutdown::Write)?;
    accepted[2].shutdown(std::net::Shutdown::Write)?;
    let cookies = clients.iter().map(cookie).collect::<Result<Vec<_>, _>>()?;
    let records = || cookies.iter().map(|cookie| (*cookie, BACKEND)).collect::<Records>();
    let removed = [removal(Protocol::Tcp, address)?];
    let mut terminator = Terminator::default();
    let at = Duration::from_secs;

    for now in [0, 29] {
        let report = terminator.run(at(now), &removed, |_| Some(records()));
        assert_eq!((destroyed(&report), report.namespaces), (0, 0), "not asked before its time");
    }
    assert_eq!(terminator.next(), Some(at(30)));
    // The server's close arrives when it does.
    eventually(|| match states(&netns, address) {
        Ok(states) if states.contains(&State::CLOSE_WAIT) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let report = terminator.run(at(30), &removed, |_| Some(records()));
    assert_eq!(destroyed(&report), 3);
    for client in &mut clients {
        assert!(client.take_error()?.is_some_and(|e| e.kind() == ErrorKind::ConnectionAborted));
    }
    // It looks twice more for latecomers, then it is done.
    for _ in 0..2 {
        let next = terminator.next().expect("another look");
        assert_eq!(destroyed(&terminator.run(next, &removed, |_| Some(records()))), 0);
    }
    assert_eq!(terminator.next(), None);
    assert_eq!(terminator.totals().tcp.destroyed, 3);
    Ok(())
}

/// The sockets with this peer, as the kernel lists them.
fn listed(netns: &NetNs, protocol: Protocol, peer: &str) -> anyhow::Result<Vec<Socket>> {
    let listing = Namespaces::default().scan()?;
    let namespace = listing.namespaces.iter().find(|other| other.name() == netns.name());
    let mut sockets = Vec::new();
    let mut diag = Diag::open(namespace.context("not listed")?)?;
    diag.each(protocol, &[peer.parse()?], None, |socket| sockets.push(socket))?;
    Ok(sockets)
}

fn states(netns: &NetNs, peer: &str) -> anyhow::Result<Vec<State>> {
    Ok(listed(netns, Protocol::Tcp, peer)?.into_iter().map(|socket| socket.state).collect())
}

#[test]
fn a_connection_attempt_is_ended() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("syn")?;
    let address = "127.0.0.1:8080";
    let target = SockaddrIn::new(127, 0, 0, 1, 8080);
    let new = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(AddressFamily::Inet, SockType::Stream, flags, None)
    };
    // Nobody accepts: once the queue is full, an attempt hangs.
    let (_server, attempts) = netns.run(|| {
        let server = new()?;
        bind(server.as_raw_fd(), &target)?;
        listen(&server, Backlog::new(0)?)?;
        let mut attempts = Vec::new();
        for _ in 0..4 {
            let attempt = new()?;
            match connect(attempt.as_raw_fd(), &target) {
                Ok(()) | Err(Errno::EINPROGRESS) => attempts.push(attempt),
                Err(errno) => return Err(errno),
            }
        }
        Ok::<_, Errno>((server, attempts))
    })??;
    let waiting = states(&netns, address)?.iter().filter(|s| **s == State::SYN_SENT).count();
    assert!(waiting > 0, "none hangs");
    let records = attempts.iter().map(|attempt| Ok((cookie(attempt)?, BACKEND)));
    let records = records.collect::<anyhow::Result<Vec<_>>>()?;
    let report = end(&[removal(Protocol::Tcp, address)?], &records);
    assert_eq!(destroyed(&report), 4);
    for attempt in &attempts {
        assert_eq!(getsockopt(attempt, sockopt::SocketError)?, libc::ECONNABORTED);
    }
    Ok(())
}

#[test]
fn more_backends_than_the_kernel_filters_by() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("many")?;
    let ports = 6000..6100;
    let mut sockets = Vec::new();
    let mut removed = Vec::new();
    let mut records = Vec::new();
    for port in ports {
        let address = format!("127.0.0.1:{port}");
        let socket = datagrams(&netns, "127.0.0.1:0", &address)?;
        let backend = BackendId { index: BackendIndex { index: port }, generation: 1 };
        removed.push(Removal { backend, ..removal(Protocol::Udp, &address)? });
        records.push((cookie(&socket)?, backend));
        sockets.push(socket);
    }
    let bystander = datagrams(&netns, "127.0.0.1:0", "127.0.0.1:6000")?;
    let report = end(&removed, &records);
    assert_eq!(destroyed(&report), 100);
    for socket in &sockets {
        aborted(&socket.recv(&mut [0; 8]));
    }
    alive(&bystander);
    Ok(())
}

#[test]
fn records_for_which_the_table_had_no_room_are_found() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("overflow")?;
    let address = "127.0.0.1:5300";
    // The mesh's own map, as the kernel makes it; filled here as the programs would.
    let mut loader = EbpfLoader::new();
    for map in [names::FRONTENDS, names::SERVICES, names::SLOTS, names::BACKENDS] {
        loader.map_max_entries(map, 16);
    }
    let mut object = loader.load(&object::object(None)?)?;
    let map = object.take_map(names::CONNS_OVERFLOW).context("no such map")?;
    let Map::SkStorage(data) = &map else { anyhow::bail!("another type of map") };
    let overflow = data.fd().as_fd().try_clone_to_owned()?;
    let mut storage: SkStorage<_, ConnRecord> = SkStorage::try_from(map)?;
    let record = |backend: BackendId| ConnRecord {
        backend: backend.index,
        generation: backend.generation,
        ..ConnRecord::default()
    };

    let server = netns.run(|| TcpListener::bind(address))??;
    let connect = || netns.run(|| TcpStream::connect(address));
    let (ours, others, bystander) = (connect()??, connect()??, connect()??);
    storage.insert(&ours, record(BACKEND), 0)?;
    storage.insert(&others, record(OTHER), 0)?;
    let removed =
        Removal { drain_timeout: Some(Duration::ZERO), ..removal(Protocol::Tcp, address)? };
    let report = Terminator::default().run(Duration::ZERO, &[removed], |_| {
        Some(Records { overflow: Some(overflow), ..Records::default() })
    });
    assert_eq!(destroyed(&report), 1);
    let error = ours.take_error()?.context("it has been ended")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    for other in [&others, &bystander] {
        assert!(other.take_error()?.is_none() && other.peer_addr().is_ok());
    }
    drop(server);
    Ok(())
}

const SOCKETS: usize = 5_000;

#[test]
fn thousands_of_sockets_are_ended_in_one_look() -> anyhow::Result<()> {
    require::kernel()?;
    let netns = NetNs::create("bulk")?;
    let address = "127.0.0.1:5300";
    let peer: SocketAddr = address.parse()?;
    let sockets = netns.run(|| {
        let one = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(peer).map(|()| socket)
        };
        (0..SOCKETS).map(one).collect::<io::Result<Vec<_>>>()
    })??;
    let records = sockets.iter().map(|socket| Ok((cookie(socket)?, BACKEND)));
    let records = records.collect::<anyhow::Result<Vec<_>>>()?;
    let start = Instant::now();
    let report = end(&[removal(Protocol::Udp, address)?], &records);
    let took = start.elapsed();
    assert_eq!(destroyed(&report), 5_000);
    assert_eq!(report.without_socket, 0);
    for socket in &sockets {
        assert!(socket.take_error()?.is_some_and(|e| e.kind() == ErrorKind::ConnectionAborted));
    }
    let searched = report.namespaces;
    let held = fs::read_dir("/proc/self/fd")?.count();
    ui::note(format!(
        "{SOCKETS} sockets listed and destroyed in {took:?} ({searched} namespaces, {held} fds)"
    ));
    Ok(())
}
