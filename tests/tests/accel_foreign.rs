//! Sockets that another agent's programs put into a map of theirs: they are left to it and counted, and
//! what is this mesh's stays that way when another comes later.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use mesh_common::accel::Path;
use mesh_common::reason::Reason;
use mesh_tests::accel::{Bed, End, Route};
use mesh_tests::netns::NetNs;

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7000);

#[test]
fn whoever_comes_first_has_the_socket_and_the_other_counts_it() -> anyhow::Result<()> {
    let mut first = Bed::start("first")?;
    let mut second = first.beside("second")?;
    let netns = NetNs::create("foreign")?;
    // Both follow the connection: the second sees it on its way to where the first has sent it.
    first.route(&Route { number: 1, vip: VIP, backend: BACKEND, accelerated: true })?;
    second.route(&Route { number: 1, vip: BACKEND, backend: BACKEND, accelerated: true })?;
    let (mut client, mut server) =
        (End::start(&first.place(&netns))?, End::start(&first.place(&netns))?);
    server.listen(BACKEND)?;
    let cookie = client.connect(VIP)?;
    server.accept()?;

    for _ in 0..100 {
        client.send("question")?;
        assert_eq!(server.receive(8)?, "question");
        server.send("answer")?;
        assert_eq!(client.receive(6)?, "answer");
    }
    let pair = first.pairs()?.of(cookie)?.context("the first has no account")?;
    assert_eq!((pair.sent_path, pair.received_path), (Path::REDIRECTED, Path::REDIRECTED));
    assert_eq!((pair.sent.bytes, pair.received.bytes), (800, 600));
    assert_eq!((first.enlisted()?, first.count(Reason::SOCKET_TAKEN)?), (2, 0));
    let pair = second.pairs()?.of(cookie)?.context("the second has no account")?;
    assert_eq!((pair.sent.bytes, pair.received.bytes), (0, 0));
    assert_eq!((second.enlisted()?, second.count(Reason::SOCKET_TAKEN)?), (0, 1));

    client.shutdown()?;
    server.send("the last answer")?;
    server.shutdown()?;
    assert_eq!(client.receive(100)?, "the last answer");
    assert_eq!(server.receive(100)?, "");
    Ok(())
}
