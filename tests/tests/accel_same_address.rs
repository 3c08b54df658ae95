//! Connections of several network namespaces with the very same addresses and ports: each end is
//! redirected to its own peer.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use mesh_common::accel::Path;
use mesh_tests::accel::{Bed, End, Route};
use mesh_tests::netns::NetNs;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Local in each namespace, and not of the loopback range.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
const PORT: u16 = 7000;
const NAMESPACES: usize = 4;

fn each_has_its_own_peer(what: &str, address: Ipv4Addr) -> anyhow::Result<()> {
    let vip = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
    let backend = SocketAddrV4::new(address, PORT);
    let mut bed = Bed::start(what)?;
    bed.route(&Route { number: 1, vip, backend, accelerated: true })?;
    let pairs = bed.pairs()?;
    let mut worlds = Vec::new();
    for n in 0..NAMESPACES {
        let netns = NetNs::create(&format!("{what}{n}"))?;
        netns.ip(&["link set lo up", &format!("addr add {ELSEWHERE}/32 dev lo")])?;
        // One port, so that the kernel cannot choose another one elsewhere.
        netns
            .run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000"))?
            .context("narrowing the range of ports")?;
        let (client, mut server) =
            (End::start(&bed.place(&netns))?, End::start(&bed.place(&netns))?);
        server.listen(backend)?;
        worlds.push((client, server, netns));
    }
    let mut cookies = Vec::new();
    for (client, server, _) in &mut worlds {
        cookies.push(client.connect(vip)?);
        server.accept()?;
    }
    for round in 0..3 {
        for (n, (client, server, _)) in worlds.iter_mut().enumerate() {
            client.send(&format!("question-{n}-{round}"))?;
            server.send(&format!("answer-{n}-{round}"))?;
        }
        for (n, (client, server, _)) in worlds.iter_mut().enumerate() {
            assert_eq!(server.receive(12)?, format!("question-{n}-{round}"));
            assert_eq!(client.receive(10)?, format!("answer-{n}-{round}"));
        }
    }
    for cookie in cookies {
        let pair = pairs.of(cookie)?.context("it is not accelerated")?;
        assert_eq!((pair.sent_path, pair.received_path), (Path::REDIRECTED, Path::REDIRECTED));
        assert_eq!((pair.sent.messages, pair.received.messages), (3, 3));
    }
    Ok(())
}

#[test]
fn on_loopback_addresses() -> anyhow::Result<()> {
    each_has_its_own_peer("loop", LOOPBACK)
}

#[test]
fn on_addresses_that_are_local_in_each() -> anyhow::Result<()> {
    each_has_its_own_peer("same", ELSEWHERE)
}
