//! `mesh-load get`: one connection that stays, and HTTP/1.1 requests on it on demand.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::monotonic_ns;

/// Options of `mesh-load get`.
#[derive(Debug, Args)]
pub struct Options {
    /// Address to connect to.
    #[arg(long)]
    target: SocketAddr,
}

/// An HTTP/1.1 connection that is kept.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Http {
    /// Connects.
    pub fn open(target: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(target).with_context(|| format!("connecting to {target}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(super::wire::PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    /// The body of the answer to one request.
    pub fn get(&mut self) -> anyhow::Result<String> {
        self.stream.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")?;
        ensure!(self.line()?.starts_with("HTTP/1.1 200 "), "the answer begins {:?}", self.line);
        let mut length = 0;
        while !self.line()?.trim_end().is_empty() {
            let line = self.line.to_ascii_lowercase();
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }

    fn line(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        ensure!(self.stream.read_line(&mut self.line)? > 0, "closed without an answer");
        Ok(&self.line)
    }
}

/// Connects, says `ready`, and then for each line with a count makes so many requests and says
/// the nanoseconds that they took.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut http = Http::open(options.target)?;
    let say = |text: &str| -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    };
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let count: u32 = line?.trim().parse().context("a count was expected")?;
        let start = monotonic_ns();
        for _ in 0..count {
            http.get()?;
        }
        say(&monotonic_ns().saturating_sub(start).to_string())?;
    }
    Ok(())
}
