//! One connection, or one datagram, of a server: what is said on it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use super::Mode;

pub(super) struct Conn {
    stream: TcpStream,
    /// Answer to a request of `Mode::Http`; what stands before each line of `Mode::Ping`.
    answer: String,
    /// Bytes of an unfinished request.
    request: Vec<u8>,
}

impl Conn {
    pub(super) fn open(
        mut stream: TcpStream,
        hello: &str,
        mode: Mode,
        status: u16,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let answer = match mode {
            Mode::Greet => {
                stream.write_all(format!("{hello}\n").as_bytes())?;
                String::new()
            }
            Mode::Ping | Mode::Udp | Mode::UdpSendto => {
                stream.set_nodelay(true)?;
                format!("{hello} ")
            }
            Mode::Http | Mode::Request => format!(
                "HTTP/1.1 {status} OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{hello}\n",
                hello.len() + 1
            ),
        };
        Ok(Self { stream, answer, request: Vec::new() })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Handles what has arrived; false when the connection is to be closed.
    pub(super) fn serve(&mut self, mode: Mode) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let read = match self.stream.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(read) => bytes.get(..read).unwrap_or(&[]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        match mode {
            Mode::Greet => {
                self.stream.write_all(read)?;
                Ok(true)
            }
            Mode::Ping | Mode::Udp | Mode::UdpSendto => {
                self.request.extend_from_slice(read);
                while let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                    let mut answer = self.answer.clone().into_bytes();
                    answer.extend(self.request.drain(..=end));
                    self.stream.write_all(&answer)?;
                }
                Ok(true)
            }
            Mode::Http | Mode::Request => {
                self.request.extend_from_slice(read);
                if !self.request.ends_with(b"\r\n\r\n") {
                    return Ok(true);
                }
                self.stream.write_all(self.answer.as_bytes())?;
                let text = String::from_utf8_lossy(&self.request).to_ascii_lowercase();
                self.request.clear();
                Ok(!text.contains("connection: close"))
            }
        }
    }
}

pub(super) fn answer_datagrams(name: &str, socket: &UdpSocket) {
    let mut request = [0; 2048];
    loop {
        match socket.recv_from(&mut request) {
            Ok((length, peer)) => {
                let mut answer = format!("{name} {peer} ").into_bytes();
                answer.extend_from_slice(request.get(..length).unwrap_or(&[]));
                // A client that has gone does not want its answer.
                drop(socket.send_to(&answer, peer));
            }
            // The next read says whether there is more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
