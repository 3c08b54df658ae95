//! A real dnsmasq: as a server that answers with its name, and as a forwarder, which is a
//! client with unconnected UDP sockets. Nothing is shared with an installed service.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::Scratch;

/// One dnsmasq process.
#[derive(Debug)]
pub struct Dnsmasq {
    // Before the folder it writes to.
    _process: Process,
    _scratch: Scratch,
}

impl Dnsmasq {
    /// Answers at `address`, over UDP and TCP, the text of `question` with `name`.
    pub fn server(
        netns: &NetNs,
        name: &str,
        address: SocketAddr,
        question: &str,
    ) -> anyhow::Result<Self> {
        let record = format!("--txt-record={question},{name}");
        Self::start(netns, &Place::in_netns(netns), name, address, &[record])
    }

    /// Forwards what it is asked at `address` to the server of its domain: `""` for the rest.
    /// With `port`, all questions leave from one socket with this port.
    pub fn forwarder(
        netns: &NetNs,
        place: &Place,
        address: SocketAddr,
        servers: &[(&str, SocketAddr)],
        port: Option<u16>,
    ) -> anyhow::Result<Self> {
        let mut arguments: Vec<String> = servers
            .iter()
            .map(|(domain, server)| {
                let server = format!("{}#{}", server.ip(), server.port());
                if domain.is_empty() {
                    format!("--server={server}")
                } else {
                    format!("--server=/{domain}/{server}")
                }
            })
            .collect();
        arguments.push("--cache-size=0".to_owned());
        arguments.extend(port.map(|port| format!("--query-port={port}")));
        Self::start(netns, place, "forwarder", address, &arguments)
    }

    fn start(
        netns: &NetNs,
        place: &Place,
        name: &str,
        address: SocketAddr,
        more: &[String],
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create(&format!("dnsmasq-{name}"))?;
        let program = require::program("dnsmasq", "dnsmasq-base")?;
        let ip: IpAddr = address.ip();
        let mut command = Command::new(program);
        command
            .args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"])
            .args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"])
            .args(["--pid-file=", "--local-ttl=0"])
            .arg(format!("--listen-address={ip}"))
            .arg(format!("--port={}", address.port()))
            .args(more);
        let log = scratch.path().join("log");
        let process = Process::spawn("dnsmasq", command, place, Some(&log))?;
        process.wait_until("listening socket", Duration::from_secs(10), || {
            matches!(netns.run(|| TcpStream::connect(address)), Ok(Ok(_)))
        })?;
        Ok(Self { _process: process, _scratch: scratch })
    }
}
