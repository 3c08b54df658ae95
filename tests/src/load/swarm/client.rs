//! `mesh-load swarm`: the end that asks.

use std::io::{self, BufRead as _};

use anyhow::Context as _;
use clap::Args;

use super::conn::{Conn, Loop};
use super::stream::{Address, Stream};
use super::{HEADER, say};
use crate::load::cookie::cookie;
use crate::load::monotonic_ns;

/// Options of `mesh-load swarm`.
#[derive(Debug, Args)]
pub struct Options {
    /// Address to connect to.
    #[arg(long)]
    target: Address,
    /// Connections, each with an exchange under way all the time.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Bytes of a question.
    #[arg(long)]
    send: u32,
    /// Bytes of its answer.
    #[arg(long)]
    receive: u32,
    /// A connection for each exchange, closed with a reset.
    #[arg(long)]
    once: bool,
}

/// Makes the exchanges of a turn and says how long they took, for each line with a count:
/// nanoseconds of all of them, and the median of one.
pub(in crate::load) fn run(options: &Options) -> anyhow::Result<()> {
    let mut swarm = Swarm::new(options)?;
    let mut cookies = Vec::new();
    if !options.once {
        for token in 0..options.connections {
            swarm.open(token)?;
        }
        // The first exchange says the sizes.
        swarm.turn(options.connections)?;
        for conn in &swarm.conns {
            if let Stream::Tcp(stream) = &conn.stream {
                cookies.push(cookie(stream)?.to_string());
            }
        }
    }
    say(&format!("ready {}", cookies.join(" ")))?;
    for line in io::stdin().lock().lines() {
        let count: u32 = line?.trim().parse().context("a count was expected")?;
        let start = monotonic_ns();
        let median = if options.once { swarm.connect_each(count)? } else { swarm.turn(count)? };
        say(&format!("{} {median}", monotonic_ns().saturating_sub(start)))?;
    }
    Ok(())
}

struct Swarm<'a> {
    options: &'a Options,
    around: Loop,
    conns: Vec<Conn>,
    /// When each connection's exchange began.
    began: Vec<u64>,
    send: usize,
    receive: usize,
}

impl<'a> Swarm<'a> {
    fn new(options: &'a Options) -> anyhow::Result<Self> {
        let (send, receive) = (options.send.try_into()?, options.receive.try_into()?);
        let (conns, began) = (Vec::new(), Vec::new());
        Ok(Self { options, around: Loop::new()?, conns, began, send, receive })
    }

    /// A connection that has said the sizes and its first question, in one piece.
    fn connect(&mut self, token: u64) -> anyhow::Result<Conn> {
        let stream = Stream::connect(&self.options.target)
            .with_context(|| format!("connecting to {:?}", self.options.target))?;
        self.around.add(&stream, token)?;
        let mut conn = Conn::new(stream, token);
        (conn.to_write, conn.to_read) = (self.send + HEADER, self.receive);
        let (send, receive) = (self.options.send.to_be_bytes(), self.options.receive.to_be_bytes());
        let header = self.around.buffer.get_mut(..HEADER).context("no room")?;
        header.copy_from_slice(&[send, receive].concat());
        conn.write(&mut self.around)?;
        Ok(conn)
    }

    fn open(&mut self, token: u32) -> anyhow::Result<()> {
        let conn = self.connect(token.into())?;
        self.conns.push(conn);
        self.began.push(monotonic_ns());
        Ok(())
    }

    /// So many exchanges, over all connections; the median of one.
    fn turn(&mut self, count: u32) -> anyhow::Result<u64> {
        let count = usize::try_from(count)?;
        let mut took = Vec::with_capacity(count);
        let mut started = 0;
        for token in 0..self.conns.len().min(count) {
            started += 1;
            self.start(token)?;
        }
        while took.len() < count {
            for token in self.around.wait()? {
                let token = usize::try_from(token)?;
                let conn = self.conns.get_mut(token).context("an unknown connection")?;
                // The event may be of an exchange that is over already.
                if conn.to_read == 0 || !conn.go_on(&mut self.around)? {
                    continue;
                }
                let began = self.began.get(token).copied().unwrap_or(0);
                took.push(monotonic_ns().saturating_sub(began));
                if started < count {
                    started += 1;
                    self.start(token)?;
                }
            }
        }
        Ok(median(took))
    }

    /// The next exchange of a connection, unless its first is under way.
    fn start(&mut self, token: usize) -> anyhow::Result<()> {
        let began = self.began.get_mut(token).context("an unknown connection")?;
        let conn = self.conns.get_mut(token).context("an unknown connection")?;
        if conn.to_read == 0 {
            *began = monotonic_ns();
            (conn.to_write, conn.to_read) = (self.send, self.receive);
            conn.write(&mut self.around)?;
        }
        Ok(())
    }

    /// A connection for each exchange; the median of one, with connect and close.
    fn connect_each(&mut self, count: u32) -> anyhow::Result<u64> {
        let mut took = Vec::with_capacity(usize::try_from(count)?);
        for _ in 0..count {
            let start = monotonic_ns();
            let mut conn = self.connect(0)?;
            loop {
                self.around.wait()?;
                if conn.go_on(&mut self.around)? {
                    break;
                }
            }
            conn.stream.reset_on_close()?;
            drop(conn);
            took.push(monotonic_ns().saturating_sub(start));
        }
        Ok(median(took))
    }
}

fn median(mut took: Vec<u64>) -> u64 {
    let middle = took.len() / 2;
    took.sort_unstable();
    took.get(middle).copied().unwrap_or(0)
}
