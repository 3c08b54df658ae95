//! Services that leave it to the agent which clients are accelerated: the programs ask before each
//! connection and at each message, and let nobody take part whose socket blocks.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use mesh_common::accel::Path;
use mesh_tests::accel::{Bed, End, Route};
use mesh_tests::netns::NetNs;

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7000);

struct World {
    client: End,
    server: End,
    bed: Bed,
    _netns: NetNs,
}

fn world(what: &str) -> anyhow::Result<World> {
    let mut bed = Bed::start(what)?;
    let netns = NetNs::create(what)?;
    bed.route(&Route { number: 1, vip: VIP, backend: BACKEND, accelerated: true })?;
    bed.leave_to_clients(1)?;
    let (client, mut server) = (End::start(&bed.place(&netns))?, End::start(&bed.place(&netns))?);
    server.listen(BACKEND)?;
    Ok(World { client, server, bed, _netns: netns })
}

impl World {
    fn connect(&mut self) -> anyhow::Result<u64> {
        let cookie = self.client.connect(VIP)?;
        self.server.accept()?;
        Ok(cookie)
    }

    fn exchange(&mut self) -> anyhow::Result<()> {
        self.client.send("question")?;
        assert_eq!(self.server.receive(8)?, "question");
        self.server.send("answer")?;
        assert_eq!(self.client.receive(6)?, "answer");
        Ok(())
    }

    fn paths(&self, cookie: u64) -> anyhow::Result<(Path, Path)> {
        let pair = self.bed.pairs()?.of(cookie)?.context("no account")?;
        Ok((pair.sent_path, pair.received_path))
    }
}

#[test]
fn only_a_client_that_is_allowed_is_accelerated_and_as_long_as_it_is() -> anyhow::Result<()> {
    let mut world = world("allowed")?;
    let cookie = world.connect()?;
    world.exchange()?;
    assert_eq!(world.bed.pairs()?.of(cookie)?, None);
    assert_eq!(world.bed.enlisted()?, 0);

    world.bed.allow(1, true)?;
    world.client.close()?;
    world.server.close()?;
    let cookie = world.connect()?;
    world.exchange()?;
    assert_eq!(world.paths(cookie)?, (Path::REDIRECTED, Path::REDIRECTED));

    world.bed.allow(1, false)?;
    world.exchange()?;
    assert_eq!(world.paths(cookie)?, (Path::LEFT, Path::LEFT));
    world.exchange()
}

#[test]
fn an_end_that_blocks_is_left_alone_at_once() -> anyhow::Result<()> {
    let mut world = world("blocks")?;
    world.bed.allow(1, true)?;
    for server_blocks in [false, true] {
        let cookie = world.connect()?;
        world.exchange()?;
        assert_eq!(world.paths(cookie)?, (Path::REDIRECTED, Path::REDIRECTED));
        if server_blocks {
            world.server.block()?;
        } else {
            world.client.block()?;
        }
        world.exchange()?;
        assert_eq!(world.paths(cookie)?, (Path::LEFT, Path::LEFT));
        world.exchange()?;
        world.client.close()?;
        world.server.close()?;
    }
    // Also from the first message on.
    let cookie = world.connect()?;
    world.client.block()?;
    world.exchange()?;
    assert_eq!(world.paths(cookie)?, (Path::TCP, Path::TCP));
    Ok(())
}
