//! How each client is made to ask once (or, where starting it is dear, a few times), and what
//! it must be shown: the address that it asked, never the backend's.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::world::{self, Kind, World};
use super::{Cell, Family, Program, Protocol, dns};
use crate::meshctl::run_command;
use crate::process::Process;
use crate::{http, require};

/// An answer that takes longer has been lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Exchanges by one Python process: starting it is what takes long.
const PYTHON_BATCH: usize = 8;

/// Asks, for the time `turn`; gives the names that answered.
pub(super) fn exchange(world: &World, cell: Cell, turn: usize) -> anyhow::Result<Vec<String>> {
    let kind = world::kind(cell);
    let target = world.target(kind, cell.family);
    let name = match cell.program {
        Program::Curl => curl(world, target)?,
        Program::Nginx => through_nginx(world, kind, cell.family)?,
        Program::PythonAsyncio => return python(world, cell.protocol, target),
        Program::Dig => dig(world, cell, target, turn)?,
        Program::Socat => socat(world, cell.protocol, target)?,
        Program::Dnsmasq => through_dnsmasq(world, cell)?,
    };
    Ok(vec![name])
}

fn curl(world: &World, target: SocketAddr) -> anyhow::Result<String> {
    let mut command = Command::new(require::program("curl", "curl")?);
    command
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "5"])
        .args(["--write-out", "%{remote_ip} %{remote_port}"])
        .arg(format!("http://{target}/"));
    let said = run_command(command, world.place())?;
    ensure!(said.code == Some(0), "curl: exit {:?}: {}", said.code, said.stderr.trim());
    let (body, peer) = said.stdout.split_once('\n').context("curl: no body")?;
    let expected = format!("{} {}", target.ip(), target.port());
    ensure!(peer == expected, "curl was shown the peer {peer}");
    Ok(first_word(body))
}

fn through_nginx(world: &World, kind: Kind, family: Family) -> anyhow::Result<String> {
    let proxy = world::proxy(kind, family);
    match kind {
        Kind::Web => Ok(first_word(&http::get_ok(world.netns(), proxy, "/")?)),
        Kind::Dns => ask_udp(world, proxy),
    }
}

fn through_dnsmasq(world: &World, cell: Cell) -> anyhow::Result<String> {
    let forwarder = world::forwarder(cell.family);
    match cell.protocol {
        Protocol::Tcp => ask_tcp(world, forwarder),
        Protocol::UdpConnected | Protocol::UdpUnconnected => ask_udp(world, forwarder),
    }
}

fn ask_udp(world: &World, server: SocketAddr) -> anyhow::Result<String> {
    let socket = world.netns().run(|| UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(&dns::query(1))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).context("no answer")?;
    dns::text(1, answer.get(..length).unwrap_or(&[]))
}

fn ask_tcp(world: &World, server: SocketAddr) -> anyhow::Result<String> {
    let mut stream = world.netns().run(|| TcpStream::connect(server))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&dns::framed(&dns::query(1)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("no answer")?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    dns::text(1, &answer)
}

/// The system's own Python, rather than one that a developer has put before it.
fn python_program() -> anyhow::Result<PathBuf> {
    let system = Path::new("/usr/bin/python3");
    if system.is_file() {
        return Ok(system.to_path_buf());
    }
    require::program("python3", "python3")
}

fn python(world: &World, protocol: Protocol, target: SocketAddr) -> anyhow::Result<Vec<String>> {
    const SCRIPT: &str = include_str!("../../programs/asyncio_client.py");
    let query: Vec<_> = dns::query(1).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new(python_program()?);
    command
        .args(["-I", "-c", SCRIPT, protocol.as_str()])
        .args([target.ip().to_string(), target.port().to_string()])
        .args([PYTHON_BATCH.to_string(), query.concat()]);
    let said = run_command(command, world.place())?;
    let stderr = said.stderr.lines().last().unwrap_or_default();
    ensure!(said.code == Some(0), "python: exit {:?}: {stderr}", said.code);
    let answers = said.stdout.lines().map(|line| {
        let answer = unhex(line).context("python: not hex")?;
        name_in(protocol, &answer)
    });
    let names = answers.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(names.len() == PYTHON_BATCH, "python: {} answers", names.len());
    Ok(names)
}

fn dig(world: &World, cell: Cell, target: SocketAddr, turn: usize) -> anyhow::Result<String> {
    let mut command = Command::new(require::program("dig", "bind9-dnsutils")?);
    command.args(["+tries=1", "+time=5", "+nocookie", "-p", &target.port().to_string()]);
    if cell.protocol == Protocol::Tcp {
        command.arg("+tcp");
    }
    // Every other time from an address of its own choice.
    if turn % 2 == 1 {
        command.args(["-b", if target.is_ipv6() { "fd77::1" } else { "10.77.0.1" }]);
    }
    command.args([&format!("@{}", target.ip()), dns::NAME, "TXT"]);
    let said = run_command(command, world.place())?;
    ensure!(said.code == Some(0), "dig: exit {:?}: {}", said.code, said.stdout.trim());
    let server = format!(";; SERVER: {}#{}(", target.ip(), target.port());
    ensure!(said.stdout.contains(&server), "dig was shown another server: {}", said.stdout);
    let answer = said.stdout.lines().find(|line| line.starts_with(dns::NAME));
    let text = answer.and_then(|line| line.split('"').nth(1)).context("dig: no answer")?;
    Ok(text.to_owned())
}

/// `socat` takes a datagram from the address that it sent to, and from no other.
fn socat(world: &World, protocol: Protocol, target: SocketAddr) -> anyhow::Result<String> {
    let family = if target.is_ipv6() { 6 } else { 4 };
    let (address, query) = match protocol {
        Protocol::Tcp => (format!("TCP{family}:{target}"), b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        Protocol::UdpConnected => (format!("UDP{family}:{target}"), dns::query(1)),
        Protocol::UdpUnconnected => (format!("UDP{family}-SENDTO:{target}"), dns::query(1)),
    };
    let mut command = Command::new(require::program("socat", "socat")?);
    command.args(["-t", "0.1", "-", &address]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let process = Process::spawn("socat", command, world.place(), None)?;
    let (stdin, stdout) = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
    let mut stdin = stdin.context("no standard input")?;
    let mut stdout = stdout.context("no standard output")?;
    stdin.write_all(&query)?;
    let (sender, answers) = mpsc::channel();
    // Ends when `socat` does: at the latest when it is killed below.
    let reader = thread::spawn(move || {
        let mut answer = Vec::new();
        let mut part = [0; 2048];
        while let Ok(length) = stdout.read(&mut part) {
            answer.extend_from_slice(part.get(..length).unwrap_or(&[]));
            let complete = length == 0 || protocol != Protocol::Tcp;
            if complete && sender.send(answer.clone()).is_err() || length == 0 {
                break;
            }
        }
    });
    let answer = answers.recv_timeout(PATIENCE);
    drop((stdin, process));
    if reader.join().is_err() {
        bail!("reading from socat");
    }
    name_in(protocol, &answer.context("socat: no answer")?)
}

/// The backend's name in a raw answer: of HTTP over TCP, of DNS over UDP.
fn name_in(protocol: Protocol, answer: &[u8]) -> anyhow::Result<String> {
    if protocol != Protocol::Tcp {
        return dns::text(1, answer);
    }
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("not an HTTP answer")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(first_word(body))
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
