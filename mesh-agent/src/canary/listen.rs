//! Where the canary's connections land: listeners of the agent on loopback that answer with a
//! token, so that the child knows them from anything else that may listen there.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};

use super::Family;
use super::image::loopback;

/// Rest after an error, so that one that stays does not keep a CPU busy.
const REST: Duration = Duration::from_millis(100);

/// TCP and UDP listeners of each family that this machine has.
#[derive(Debug)]
pub struct Listeners {
    v4: Option<Pair>,
    v6: Option<Pair>,
    ports: Ports,
}

/// A TCP and a UDP port.
pub type PortPair = (u16, u16);

/// Ports of the listeners, and what they answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// TCP and UDP port at 127.0.0.1, or why there are none.
    pub v4: Result<PortPair, String>,
    /// TCP and UDP port at `::1`, or why there are none.
    pub v6: Result<PortPair, String>,
    /// The answer to everything.
    pub token: String,
}

impl Ports {
    /// TCP and UDP port of a family, if it is there.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<PortPair> {
        self.get(family).as_ref().ok().copied()
    }

    /// Why a family is not there.
    #[must_use]
    pub fn unavailable(&self, family: Family) -> Option<&str> {
        self.get(family).as_ref().err().map(String::as_str)
    }

    const fn get(&self, family: Family) -> &Result<PortPair, String> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl Listeners {
    /// Listens at the ports that an earlier agent had, so that the maps stay as they are; where
    /// there was none or somebody else has them now, at others that the kernel chooses. A family
    /// that cannot be bound is not there.
    pub async fn bind(before: impl Fn(Family) -> Option<PortPair>) -> Self {
        let (v4, v4_ports) = split(bind(Family::V4, before(Family::V4)).await);
        let (v6, v6_ports) = split(bind(Family::V6, before(Family::V6)).await);
        let token = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { v4, v6, ports: Ports { v4: v4_ports, v6: v6_ports, token } }
    }

    /// Where they listen.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Answers for ever.
    pub async fn run(self) {
        let Self { v4, v6, ports } = self;
        let token = ports.token.as_bytes();
        tokio::join!(answer(v4, token), answer(v6, token));
    }
}

/// A TCP and a UDP listener.
type Pair = (TcpListener, UdpSocket);
/// The listeners and their ports.
type Bound = (Pair, PortPair);

fn split(bound: io::Result<Bound>) -> (Option<Pair>, Result<PortPair, String>) {
    match bound {
        Ok((listeners, ports)) => (Some(listeners), Ok(ports)),
        Err(error) => (None, Err(error.to_string())),
    }
}

async fn bind(family: Family, before: Option<PortPair>) -> io::Result<Bound> {
    if let Some(ports) = before
        && let Ok(bound) = bind_at(family, ports).await
    {
        return Ok(bound);
    }
    bind_at(family, (0, 0)).await
}

async fn bind_at(family: Family, (tcp, udp): PortPair) -> io::Result<Bound> {
    let address = |port| SocketAddr::new(loopback(family), port);
    let (tcp, udp) = (TcpListener::bind(address(tcp)).await?, UdpSocket::bind(address(udp)).await?);
    let ports = (tcp.local_addr()?.port(), udp.local_addr()?.port());
    Ok(((tcp, udp), ports))
}

async fn answer(listeners: Option<Pair>, token: &[u8]) {
    let Some((tcp, udp)) = listeners else { return };
    tokio::join!(answer_tcp(tcp, token), answer_udp(udp, token));
}

async fn answer_tcp(listener: TcpListener, token: &[u8]) {
    loop {
        match listener.accept().await {
            // The token fits into any send buffer, so no client can hold the next one up. One
            // that has gone needs no answer.
            Ok((mut stream, _)) => stream.write_all(token).await.unwrap_or_default(),
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

async fn answer_udp(socket: UdpSocket, token: &[u8]) {
    let mut ignored = [0; 1];
    loop {
        match socket.recv_from(&mut ignored).await {
            Ok((_, client)) => drop(socket.send_to(token, client).await),
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}
