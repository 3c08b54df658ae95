//! A client and a server in one network namespace, with an accelerated service between them.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, ensure};
use mesh_common::accel::{Pair, Path};

use super::{Bed, End, Route};
use crate::netns::NetNs;

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 80);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7000);

/// Fields drop in order.
#[derive(Debug)]
pub struct World {
    /// Connects.
    pub client: End,
    /// Listens.
    pub server: End,
    /// Where they run. The service's number is 1.
    pub bed: Bed,
    cookie: u64,
    _netns: NetNs,
}

impl World {
    /// Starts it, without a connection.
    pub fn start(what: &str) -> anyhow::Result<Self> {
        let mut bed = Bed::start(what)?;
        let netns = NetNs::create(what)?;
        bed.route(&Route { number: 1, vip: VIP, backend: BACKEND, accelerated: true })?;
        let client = End::start(&bed.place(&netns))?;
        let mut server = End::start(&bed.place(&netns))?;
        server.listen(BACKEND)?;
        Ok(Self { client, server, bed, cookie: 0, _netns: netns })
    }

    /// Connects, instead of what was connected before.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        self.cookie = self.client.connect(VIP)?;
        self.server.accept()
    }

    /// Closes both ends.
    pub fn close(&mut self) -> anyhow::Result<()> {
        self.client.close()?;
        self.server.close()
    }

    /// Asks and answers.
    pub fn exchange(&mut self) -> anyhow::Result<()> {
        self.client.send("question")?;
        ensure!(self.server.receive(8)? == "question");
        self.server.send("answer")?;
        ensure!(self.client.receive(6)? == "answer");
        Ok(())
    }

    /// What the programs have noted of the connection; none where it is not accelerated.
    pub fn account(&self) -> anyhow::Result<Option<Pair>> {
        self.bed.pairs()?.of(self.cookie)
    }

    /// Which ways it goes, from the client and to it.
    pub fn paths(&self) -> anyhow::Result<(Path, Path)> {
        let pair = self.account()?.context("no account")?;
        Ok((pair.sent_path, pair.received_path))
    }
}
