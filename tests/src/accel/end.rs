//! One end of a connection in a process of its own that obeys line by line (`mesh-load end`), for
//! tests in which the order of every step counts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddrV4;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::bins;
use crate::process::{Place, Process};

/// The process; killed on drop.
#[derive(Debug)]
pub struct End {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Process,
}

impl End {
    /// Starts it; it has no socket yet.
    pub fn start(place: &Place) -> anyhow::Result<Self> {
        let mut command = Command::new(bins::helper("mesh-load")?);
        command.arg("end").stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::spawn("end", command, place, None)?;
        let (stdin, stdout) = process.with_child(|child| (child.stdin.take(), child.stdout.take()));
        Ok(Self {
            stdin: stdin.context("no standard input")?,
            stdout: BufReader::new(stdout.context("no standard output")?),
            _process: process,
        })
    }

    /// Listens.
    pub fn listen(&mut self, at: SocketAddrV4) -> anyhow::Result<()> {
        self.ask(&format!("listen {at}")).map(drop)
    }

    /// Waits for the next connection.
    pub fn accept(&mut self) -> anyhow::Result<()> {
        self.ask("accept").map(drop)
    }

    /// Connects; the socket's cookie.
    pub fn connect(&mut self, to: SocketAddrV4) -> anyhow::Result<u64> {
        Ok(self.ask(&format!("connect {to}"))?.parse()?)
    }

    /// Connects by sending a text (TCP Fast Open); the socket's cookie.
    pub fn open(&mut self, to: SocketAddrV4, text: &str) -> anyhow::Result<u64> {
        Ok(self.ask(&format!("open {to} {text}"))?.parse()?)
    }

    /// Disconnects the same socket (`connect()` to `AF_UNSPEC`), and connects it again.
    pub fn reconnect(&mut self, to: SocketAddrV4) -> anyhow::Result<()> {
        self.ask(&format!("reconnect {to}")).map(drop)
    }

    /// Has its socket block from now on.
    pub fn block(&mut self) -> anyhow::Result<()> {
        self.ask("block").map(drop)
    }

    /// Sends a text without a line end, as one message.
    pub fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.ask(&format!("send {text}")).map(drop)
    }

    /// Has four threads write so many bytes each, in messages of a size, while it reads and checks what
    /// four at the other end write. Both ends have to do it at the same time.
    pub fn crowd(&mut self, bytes: usize, message: usize) -> anyhow::Result<()> {
        self.ask(&format!("crowd {bytes} {message}")).map(drop)
    }

    /// Waits until so many bytes are there; fewer where the stream ends before.
    pub fn receive(&mut self, bytes: usize) -> anyhow::Result<String> {
        self.ask(&format!("receive {bytes}"))
    }

    /// Reads so many bytes, each time until a read gives less than it could, and then after the next
    /// event of edge-triggered epoll.
    pub fn receive_by_edges(&mut self, bytes: usize) -> anyhow::Result<()> {
        self.ask(&format!("edges {bytes}")).map(drop)
    }

    /// Sends no more.
    pub fn shutdown(&mut self) -> anyhow::Result<()> {
        self.ask("shutdown").map(drop)
    }

    /// Closes the connection.
    pub fn close(&mut self) -> anyhow::Result<()> {
        self.ask("close").map(drop)
    }

    fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        writeln!(self.stdin, "{line}")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        match answer.trim_end_matches('\n').split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            _ => bail!("{line}: {answer:?}"),
        }
    }
}
