//! `mesh-agent canary`: joins a cgroup below the attached one, because a socket belongs to the
//! cgroup in which it was made, connects through every hook, and prints what it found.
//!
//! It ends in bounded time and takes its cgroup away itself, so that nothing stays where the
//! agent is killed meanwhile.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_common::canary;

use super::image::vip;
use super::{Family, Finding, Probe};
use crate::bpf::check::Machine;
use crate::cgroup::v2_path;

/// Longest wait for one answer from loopback.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the cgroup, tries the families, takes the cgroup away. The findings are empty only
/// where no family was asked for.
pub fn run(cgroup: &Path, token: &str, families: &[Family]) -> io::Result<Vec<Finding>> {
    let home = home()?;
    let described = |what: &str, error: &io::Error| {
        io::Error::new(error.kind(), format!("{what} {}: {error}", cgroup.display()))
    };
    fs::create_dir(cgroup).map_err(|error| described("cannot create", &error))?;
    let joined = join(cgroup).map_err(|error| described("cannot join", &error));
    let findings = joined.map(|()| {
        families.iter().flat_map(|family| Tries { family: *family, token }.all()).collect()
    });
    leave(cgroup, &home);
    findings
}

/// The cgroup that this process is in now, as a directory.
fn home() -> io::Result<PathBuf> {
    let machine = Machine::read();
    let root = machine.cgroup_root().ok_or_else(|| io::Error::other("no cgroup v2 is mounted"))?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    Ok(root.join(v2_path(&own).unwrap_or_default().trim_start_matches('/')))
}

fn join(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Goes back, and takes the cgroup away; where the way back is closed (a cgroup namespace, a
/// cgroup that is gone), the parent does.
fn leave(cgroup: &Path, home: &Path) {
    let parents = [Some(home), cgroup.parent()];
    if parents.into_iter().flatten().any(|path| join(path).is_ok()) {
        drop(fs::remove_dir(cgroup));
    }
}

struct Tries<'a> {
    family: Family,
    token: &'a str,
}

impl Tries<'_> {
    fn all(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |probe, result: Result<(), String>| {
            findings.push(Finding { family: self.family, probe, problem: result.err() });
        };
        match self.tcp() {
            Ok(peer) => {
                found(Probe::TcpConnect, Ok(()));
                found(Probe::TcpPeer, self.is_service("the peer is shown as", peer));
            }
            Err(problem) => found(Probe::TcpConnect, Err(problem)),
        }
        found(Probe::Refusal, self.refusal());
        found(Probe::UdpConnect, self.udp_connected());
        match self.udp_unconnected() {
            Ok(sender) => {
                found(Probe::UdpSend, Ok(()));
                found(Probe::UdpReceive, self.is_service("the sender is shown as", sender));
            }
            Err(problem) => found(Probe::UdpSend, Err(problem)),
        }
        findings
    }

    const fn service(&self) -> SocketAddr {
        SocketAddr::new(vip(self.family), canary::PORT)
    }

    fn is_service(&self, what: &str, shown: SocketAddr) -> Result<(), String> {
        let service = self.service();
        if shown == service { Ok(()) } else { Err(format!("{what} {shown}, not as {service}")) }
    }

    fn tcp(&self) -> Result<SocketAddr, String> {
        let failed = |error: io::Error| format!("TCP to {}: {error}", self.service());
        let stream = TcpStream::connect_timeout(&self.service(), PATIENCE).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        // One more byte than the token has: anything longer is not it.
        let mut answer = Vec::new();
        let most = u64::try_from(self.token.len()).unwrap_or(u64::MAX).saturating_add(1);
        (&stream).take(most).read_to_end(&mut answer).map_err(failed)?;
        self.is_token(&answer)?;
        stream.peer_addr().map_err(failed)
    }

    fn is_token(&self, answer: &[u8]) -> Result<(), String> {
        let service = self.service();
        if answer == self.token.as_bytes() {
            Ok(())
        } else {
            Err(format!("somebody else than the agent answers at {service}"))
        }
    }

    fn refusal(&self) -> Result<(), String> {
        let address = SocketAddr::new(vip(self.family), canary::REFUSING_PORT);
        let expected = io::Error::from_raw_os_error(canary::REFUSAL.cast_signed());
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => Err(format!("TCP to {address}: connected instead of: {expected}")),
            Err(error) if error.raw_os_error() == expected.raw_os_error() => Ok(()),
            Err(error) => Err(format!("TCP to {address}: {error} instead of: {expected}")),
        }
    }

    fn udp_socket(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = match self.family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn udp_connected(&self) -> Result<(), String> {
        let failed = |error: io::Error| format!("connected UDP to {}: {error}", self.service());
        let socket = self.udp_socket().map_err(failed)?;
        socket.connect(self.service()).map_err(failed)?;
        socket.send(b"?").map_err(failed)?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).map_err(failed)?;
        self.is_token(answer.get(..length).unwrap_or_default())
    }

    fn udp_unconnected(&self) -> Result<SocketAddr, String> {
        let failed = |error: io::Error| format!("UDP to {}: {error}", self.service());
        let socket = self.udp_socket().map_err(failed)?;
        socket.send_to(b"?", self.service()).map_err(failed)?;
        let mut answer = [0; 64];
        let (length, sender) = socket.recv_from(&mut answer).map_err(failed)?;
        self.is_token(answer.get(..length).unwrap_or_default())?;
        Ok(sender)
    }
}

/// Prints the findings, one JSON array.
pub fn print(findings: &[Finding]) -> io::Result<()> {
    let text = serde_json::to_string(findings).map_err(io::Error::other)?;
    writeln!(io::stdout().lock(), "{text}")
}
