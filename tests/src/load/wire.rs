//! One connection as a client makes it: connect, exchange, close.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::{Mode, Target};

/// The request of `Mode::Http`.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: mesh.test\r\nConnection: close\r\n\r\n";
/// The request of `Mode::Request`: the client will close.
const REQUEST_KEEP: &[u8] = b"GET / HTTP/1.1\r\nHost: mesh.test\r\n\r\n";

/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

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
pub(super) fn exchange(target: Target) -> io::Result<Exchange> {
    let mut stream = TcpStream::connect(target.target)?;
    talk(&mut stream, target.mode)
}

/// The exchange on a connected stream; afterwards it only needs to be dropped.
pub(super) fn talk(stream: &mut TcpStream, mode: Mode) -> io::Result<Exchange> {
    match mode {
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
            stream.set_read_timeout(Some(PATIENCE))?;
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

fn first_word(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Connects with a bound on the wait, for probes of addresses that may not answer at all.
pub(super) fn connect_within(target: SocketAddrV4, patience: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&target.into(), patience)
}
