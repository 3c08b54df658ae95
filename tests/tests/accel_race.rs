//! The race at enrolment, forced: the client's first message leaves before the server's end can be
//! redirected to. That direction must stay with TCP for good, because a reader gets redirected data
//! before what TCP still has on the way.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use mesh_common::accel::Path;
use mesh_tests::accel::{Bed, End, Pairs, Route};
use mesh_tests::firewall;
use mesh_tests::netns::{FAR, NetNs};
use mesh_tests::wait::eventually;

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(FAR, 7000);

/// Two namespaces, an end in each. Fields drop in order.
struct World {
    client: End,
    server: End,
    pairs: Pairs,
    _bed: Bed,
    far: NetNs,
    _near: NetNs,
}

fn world() -> anyhow::Result<World> {
    let mut bed = Bed::start("race")?;
    let (near, far) = (NetNs::create("race-client")?, NetNs::create("race-server")?);
    near.connect(&far)?;
    bed.route(&Route { number: 1, vip: VIP, backend: BACKEND, accelerated: true })?;
    let client = End::start(&bed.place(&near))?;
    let mut server = End::start(&bed.place(&far))?;
    server.listen(BACKEND)?;
    Ok(World { client, server, pairs: bed.pairs()?, _bed: bed, far, _near: near })
}

/// The first message has decided for both directions.
const BY_TCP: [(Path, u64); 2] = [(Path::TCP, 0), (Path::TCP, 0)];

/// Which way each direction goes, and the bytes that went past TCP.
fn paths(pairs: &Pairs, cookie: u64) -> anyhow::Result<[(Path, u64); 2]> {
    let pair = pairs.of(cookie)?.context("it is not accelerated")?;
    Ok([(pair.sent_path, pair.sent.bytes), (pair.received_path, pair.received.bytes)])
}

#[test]
fn in_time_both_directions_are_redirected() -> anyhow::Result<()> {
    let mut world = world()?;
    let cookie = world.client.connect(VIP)?;
    world.server.accept()?;
    world.client.send("question")?;
    assert_eq!(world.server.receive(8)?, "question");
    world.server.send("answer")?;
    assert_eq!(world.client.receive(6)?, "answer");
    assert_eq!(paths(&world.pairs, cookie)?, [(Path::REDIRECTED, 8), (Path::REDIRECTED, 6)]);
    Ok(())
}

#[test]
fn what_follows_a_first_message_by_tcp_does_not_overtake_it() -> anyhow::Result<()> {
    let mut world = world()?;
    // Nothing but the SYN gets through: the client is established, the server is not.
    firewall::drop_all_but_syn(&world.far, BACKEND.port())?;
    let cookie = world.client.connect(VIP)?;
    world.client.send("first ")?;
    assert_eq!(paths(&world.pairs, cookie)?, BY_TCP);
    eventually(|| match firewall::dropped(&world.far) {
        Ok(packets) if packets >= 2 => Ok(()),
        other => Err(format!("the acknowledgement and the first message were not lost: {other:?}")),
    })?;

    // Acknowledgements get through, data does not: the server's next SYN-ACK establishes it, while
    // the first message is still on its way.
    firewall::drop_data(&world.far, BACKEND.port())?;
    world.server.accept()?;
    world.client.send("second ")?;
    world.server.send("early")?;
    assert_eq!(world.client.receive(5)?, "early");
    world.client.send("third")?;
    assert_eq!(paths(&world.pairs, cookie)?, BY_TCP);

    firewall::open(&world.far)?;
    assert_eq!(world.server.receive(18)?, "first second third");
    for n in 0..100 {
        let text = format!("more {n:02}");
        world.client.send(&text)?;
        assert_eq!(world.server.receive(7)?, text);
        world.server.send("yes")?;
        assert_eq!(world.client.receive(3)?, "yes");
    }
    assert_eq!(paths(&world.pairs, cookie)?, BY_TCP);
    // Both ends of the stream come by TCP, behind everything.
    world.server.send("last")?;
    world.server.shutdown()?;
    assert_eq!(world.client.receive(100)?, "last");
    world.client.send("farewell")?;
    world.client.shutdown()?;
    assert_eq!(world.server.receive(100)?, "farewell");
    Ok(())
}

#[test]
fn data_that_establishes_the_server_is_read_first() -> anyhow::Result<()> {
    let mut world = world()?;
    // The handshake's last acknowledgement is lost; the first message stands in for it.
    firewall::drop_bare_acknowledgements(&world.far, BACKEND.port())?;
    let cookie = world.client.connect(VIP)?;
    world.client.send("first ")?;
    world.server.accept()?;
    world.client.send("second")?;
    world.server.send("answer")?;
    assert_eq!(world.client.receive(6)?, "answer");
    assert_eq!(world.server.receive(12)?, "first second");
    assert_eq!(paths(&world.pairs, cookie)?, BY_TCP);
    firewall::open(&world.far)?;
    Ok(())
}

#[test]
fn what_was_sent_to_make_the_connection_is_read_first() -> anyhow::Result<()> {
    let mut world = world()?;
    let cookie = world.client.open(VIP, "first ")?;
    world.client.send("second")?;
    world.server.accept()?;
    assert_eq!(world.server.receive(12)?, "first second");
    world.server.send("answer")?;
    assert_eq!(world.client.receive(6)?, "answer");
    assert_eq!(paths(&world.pairs, cookie)?, BY_TCP);
    Ok(())
}
