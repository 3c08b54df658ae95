//! One connection as a client makes it: connect, exchange, close.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::{Mode, Target, datagram, monotonic_ns};

/// The request of `Mode::Http`.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: mesh.test\r\nConnection: close\r\n\r\n";
/// The request of `Mode::Request`: the client will close.
const REQUEST_KEEP: &[u8] = b"GET / HTTP/1.1\r\nHost: mesh.test\r\n\r\n";

/// A server that is silent for so long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What one exchange moved and who answered.
#[derive(Debug)]
pub(super) struct Exchange {
    /// First word of the answer: the backend's name.
    pub(super) name: String,
    /// Payload bytes sent and received.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Connects and exchanges, then closes.
pub(super) fn exchange(target: Target, patience: Duration) -> io::Result<Exchange> {
    let Target { target, mode } = target;
    if mode.is_udp() {
        let connected = mode == Mode::Udp;
        let socket = datagram::open(target, connected)?;
        let request = format!("once {}", monotonic_ns());
        return datagram::ask(&socket, target, connected, &request, patience);
    }
    let mut stream = TcpStream::connect(target)?;
    // Not in the benchmark, which would measure it.
    if mode != Mode::Request {
        check_peer(&stream, target)?;
    }
    talk(&mut stream, mode, patience)
}

/// `getpeername` must show the address that was connected to.
pub(super) fn check_peer(stream: &TcpStream, target: SocketAddr) -> io::Result<()> {
    if datagram::same(stream.peer_addr()?, target) {
        return Ok(());
    }
    Err(io::Error::other(datagram::WRONG_PEER))
}

/// The exchange on a connected stream; afterwards it only needs to be dropped.
pub(super) fn talk(stream: &mut TcpStream, mode: Mode, patience: Duration) -> io::Result<Exchange> {
    match mode {
        Mode::Udp | Mode::UdpSendto => Err(io::ErrorKind::Unsupported.into()),
        Mode::Ping => {
            let request = format!("once {}\n", monotonic_ns());
            ping(stream, &request)
        }
        Mode::Greet => {
            let mut line = [0; 128];
            let mut length = 0;
            while !line.iter().take(length).any(|byte| *byte == b'\n') {
                let room = line.get_mut(length..).unwrap_or(&mut []);
                let read = stream.read(room)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                length += read;
            }
            reset_on_close(stream)?;
            Ok(Exchange {
                name: first_word(line.get(..length).unwrap_or(&[])),
                sent: 0,
                received: u64::try_from(length).unwrap_or(0),
            })
        }
        Mode::Http => {
            stream.set_read_timeout(Some(patience))?;
            stream.write_all(REQUEST)?;
            let mut answer = Vec::with_capacity(512);
            stream.read_to_end(&mut answer)?;
            let body = body_of(&answer).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Exchange {
                name: first_word(body),
                sent: u64::try_from(REQUEST.len()).unwrap_or(0),
                received: u64::try_from(answer.len()).unwrap_or(0),
            })
        }
        Mode::Request => {
            stream.write_all(REQUEST_KEEP)?;
            // The server sends its short answer in one piece, so one read has all of it.
            let mut answer = [0; 1024];
            let length = stream.read(&mut answer)?;
            let answer = answer.get(..length).unwrap_or(&[]);
            let body = body_of(answer).ok_or(io::ErrorKind::InvalidData)?;
            reset_on_close(stream)?;
            Ok(Exchange {
                name: first_word(body),
                sent: u64::try_from(REQUEST_KEEP.len()).unwrap_or(0),
                received: u64::try_from(length).unwrap_or(0),
            })
        }
    }
}

/// One line and its answer, which repeats it behind the server's name.
pub(super) fn ping(stream: &mut TcpStream, request: &str) -> io::Result<Exchange> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut line = [0; 256];
    let mut length = 0;
    while !line.iter().take(length).any(|byte| *byte == b'\n') {
        let read = stream.read(line.get_mut(length..).unwrap_or(&mut []))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
    }
    let answer = line.get(..length).unwrap_or(&[]);
    if !answer.ends_with(request.as_bytes()) {
        return Err(io::Error::other(datagram::STALE));
    }
    Ok(Exchange {
        name: first_word(answer),
        sent: u64::try_from(request.len()).unwrap_or(0),
        received: u64::try_from(length).unwrap_or(0),
    })
}

/// An error in one word: the errno where there is one.
pub(super) fn word(error: &io::Error) -> String {
    if let Some(errno) = error.raw_os_error() {
        return errno.to_string();
    }
    error.get_ref().map_or_else(
        || format!("{:?}", error.kind()),
        |reason| reason.to_string().split_whitespace().collect::<Vec<_>>().join("-"),
    )
}

fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(setsockopt(stream, sockopt::Linger, &linger)?)
}

/// The body of a complete `200` answer.
fn body_of(answer: &[u8]) -> Option<&[u8]> {
    if !answer.starts_with(b"HTTP/1.1 200") {
        return None;
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    answer.get(end + 4..).filter(|body| !body.is_empty())
}

pub(super) fn first_word(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Connects with a bound on the wait, for probes of addresses that may not answer at all.
pub(super) fn connect_within(target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&target, patience)
}
