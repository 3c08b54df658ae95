//! `mesh-load hold` and `mesh-load echo`: one connection that stays, and exchanges on it on
//! demand. A connection says first how large its questions and answers are.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use anyhow::Context as _;
use clap::Args;

use super::monotonic_ns;

/// Options of `mesh-load echo`.
#[derive(Debug, Args)]
pub struct EchoOptions {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddrV4,
}

/// Options of `mesh-load hold`.
#[derive(Debug, Args)]
pub struct Options {
    /// Address to connect to.
    #[arg(long)]
    target: SocketAddrV4,
    /// Bytes of a question.
    #[arg(long)]
    send: u32,
    /// Bytes of its answer.
    #[arg(long)]
    receive: u32,
}

/// Most bytes read or written by one system call.
const CHUNK: usize = 256 << 10;

/// Serves for ever.
pub(super) fn echo(options: &EchoOptions) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(options.listen).with_context(|| format!("listen {}", options.listen))?;
    say("ready")?;
    loop {
        let (stream, _) = listener.accept()?;
        // Ends with the connection.
        thread::spawn(move || drop(answer(stream)));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let question = u32::from_be_bytes(size);
    stream.read_exact(&mut size)?;
    let answer = u32::from_be_bytes(size);
    let mut buffer = vec![0; CHUNK];
    loop {
        receive(&mut stream, question, &mut buffer)?;
        send(&mut stream, answer, &buffer)?;
    }
}

/// Connects, says `ready`, and then for each line with a count makes so many exchanges and says
/// the nanoseconds that they took.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(options.target)
        .with_context(|| format!("connecting to {}", options.target))?;
    stream.set_nodelay(true)?;
    stream.write_all(&options.send.to_be_bytes())?;
    stream.write_all(&options.receive.to_be_bytes())?;
    let mut buffer = vec![0; CHUNK];
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let count: u32 = line?.trim().parse().context("a count was expected")?;
        let start = monotonic_ns();
        for _ in 0..count {
            send(&mut stream, options.send, &buffer)?;
            receive(&mut stream, options.receive, &mut buffer)?;
        }
        say(&monotonic_ns().saturating_sub(start).to_string())?;
    }
    Ok(())
}

fn send(stream: &mut TcpStream, bytes: u32, buffer: &[u8]) -> io::Result<()> {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let chunk = buffer.get(..left.min(buffer.len())).unwrap_or(buffer);
        stream.write_all(chunk)?;
        left -= chunk.len();
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, bytes: u32, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let room = left.min(buffer.len());
        let read = stream.read(buffer.get_mut(..room).unwrap_or(&mut []))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
