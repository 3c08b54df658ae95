//! The network of the benchmarks: one namespace with the server, which owns every backend
//! address, and namespaces of clients, each behind a pair of interfaces of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::transport::Transport;
use super::world::ECHO_PORT;
use crate::backend::Backends;
use crate::bins;
use crate::load::Mode;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::testbed::PORT;

/// The server's side. Fields drop in order: processes before their namespace.
pub(super) struct Lan {
    _backends: Backends,
    _echo: Process,
    server: NetNs,
    cpu: usize,
    transport: Transport,
    clients: u8,
}

impl Lan {
    /// Starts the server, all of it on one CPU.
    pub(super) fn start(cpu: usize, transport: &Transport) -> anyhow::Result<Self> {
        let server = NetNs::create("bench-server")?;
        transport.apply(&server)?;
        server.ip(&["route add local 10.80.0.0/12 dev lo"])?;
        let place = Place::in_netns(&server).and_cpu(Some(cpu));
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let backends = Backends::start(&place, Mode::Request, &[("all", any(PORT))])?;
        let mut command = Command::new(bins::helper("mesh-load")?);
        command.args(["echo", "--listen", &any(ECHO_PORT).to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let echo = Process::spawn("echo", command, &place, None)?;
        let transport = transport.clone();
        Ok(Self { _backends: backends, _echo: echo, server, cpu, transport, clients: 0 })
    }

    /// Another namespace, with the way to all backend addresses and none to the virtual ones.
    pub(super) fn client(&mut self, what: &str) -> anyhow::Result<Arc<NetNs>> {
        self.clients += 1;
        let n = self.clients;
        let client = NetNs::create(what)?;
        self.transport.apply(&client)?;
        let (own, its) = (format!("10.77.{n}.1/24"), format!("10.77.{n}.2/24"));
        client.pair(("up0", &own), &self.server, (&format!("down{n}"), &its))?;
        client.ip(&[&format!("route add 10.80.0.0/12 via 10.77.{n}.2")])?;
        Ok(Arc::new(client))
    }

    /// Where a client of that namespace belongs.
    pub(super) fn place(&self, client: &NetNs) -> Place {
        Place::in_netns(client).and_cpu(Some(self.cpu))
    }
}
