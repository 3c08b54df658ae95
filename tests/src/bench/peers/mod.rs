//! What others do for the same service on the same machine, in the same rounds: a rewriting rule
//! in the kernel, and proxies in the path. Each has a namespace of its own.

mod envoy;
mod haproxy;
mod nftables;

use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::lan::Lan;
use super::world::{self, Special};
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;
use crate::ui;

/// Which peers may be missing.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Without {
    /// Leave Envoy out.
    #[arg(long = "without-envoy")]
    envoy: bool,
    /// Leave `HAProxy` out.
    #[arg(long = "without-haproxy")]
    haproxy: bool,
    /// Leave nftables out.
    #[arg(long = "without-nftables")]
    nftables: bool,
}

/// One way that is not ours. Fields drop in order: the process before its files and namespace.
pub(super) struct Peer {
    pub(super) name: String,
    _process: Option<Process>,
    _scratch: Scratch,
    netns: Arc<NetNs>,
}

/// A peer that should be there and is not.
pub(super) struct Missing {
    pub(super) name: &'static str,
    pub(super) reason: String,
}

/// All peers that are wanted and there, and those that are wanted and missing.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) found: Vec<Peer>,
    pub(super) missing: Vec<Missing>,
}

/// Longest wait for a peer to serve.
const PATIENCE: Duration = Duration::from_secs(20);

impl Peers {
    /// Starts them. nftables is there once for each number of services; a proxy knows one.
    pub(super) fn start(lan: &mut Lan, sizes: &[u32], without: Without) -> anyhow::Result<Self> {
        let mut peers = Self::default();
        if !without.nftables {
            match nftables::program() {
                Ok(program) => {
                    for services in sizes {
                        peers.found.push(nftables::start(&program, lan, *services)?);
                    }
                }
                Err(reason) => peers.miss("nftables", &reason),
            }
        }
        if !without.haproxy {
            match haproxy::program() {
                Ok(program) => peers.found.push(haproxy::start(&program, lan)?),
                Err(reason) => peers.miss("HAProxy", &reason),
            }
        }
        if !without.envoy {
            match envoy::program() {
                Ok(program) => peers.found.push(envoy::start(&program, lan)?),
                Err(reason) => peers.miss("Envoy", &reason),
            }
        }
        Ok(peers)
    }

    /// What a run must not pass over in silence: its comparison is not complete.
    pub(super) fn fault(&self) -> Option<String> {
        let names: Vec<_> = self.missing.iter().map(|missing| missing.name).collect();
        let options = self
            .missing
            .iter()
            .map(|missing| format!("--without-{}", missing.name.to_ascii_lowercase()));
        let options: Vec<_> = options.collect();
        (!names.is_empty()).then(|| {
            format!("{} not installed: install it, or say {}", names.join(", "), options.join(" "))
        })
    }

    fn miss(&mut self, name: &'static str, reason: &anyhow::Error) {
        let reason = format!("{reason:#}");
        ui::note(format!("{name} is NOT INSTALLED and is not compared with: {reason}"));
        self.missing.push(Missing { name, reason });
    }
}

impl Peer {
    /// Where its clients belong.
    pub(super) fn place(&self, lan: &Lan) -> Place {
        lan.place(&self.netns)
    }
}

/// A service as a peer is told of it.
struct Served {
    vip: SocketAddrV4,
    backends: Vec<SocketAddrV4>,
}

/// What every peer serves: the first service, and the one for connections that stay.
fn served() -> [Served; 2] {
    let backends = (0..world::BACKENDS).map(world::backend).collect();
    let echo = (0..world::BACKENDS).map(|n| Special::ECHO.backend(n)).collect();
    [Served { vip: world::vip(0), backends }, Served { vip: Special::ECHO.vip(), backends: echo }]
}

/// Starts a proxy on the virtual addresses of its own namespace.
fn proxy(
    name: &str,
    lan: &mut Lan,
    scratch: Scratch,
    command: impl FnOnce(&Path) -> Command,
) -> anyhow::Result<Peer> {
    let netns = lan.client(name)?;
    for Served { vip, .. } in served() {
        netns.addresses(&[&format!("{}/32", vip.ip())])?;
    }
    let command = command(scratch.path());
    let log = scratch.path().join("log");
    let process = Process::spawn(name, command, &lan.place(&netns), Some(&log))?;
    for Served { vip, .. } in served() {
        process.wait_until("listening socket", PATIENCE, || {
            matches!(netns.run(|| TcpStream::connect(vip)), Ok(Ok(_)))
        })?;
    }
    Ok(Peer { name: name.to_owned(), _process: Some(process), _scratch: scratch, netns })
}
