//! What a server is told while it runs: to close its doors and to open them, also in turns, to
//! answer with another status, and to say how many connections it has.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::read;

use super::{CONTROL, Server, say};

pub(super) struct Control {
    /// Bytes of an unfinished line.
    text: Vec<u8>,
    flap: Option<Flap>,
}

/// Doors that close and open in turns.
struct Flap {
    every: Duration,
    next: Instant,
}

impl Control {
    pub(super) fn open(epoll: &Epoll) -> anyhow::Result<Self> {
        epoll.add(io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
        Ok(Self { text: Vec::new(), flap: None })
    }

    /// How long to wait for events.
    pub(super) fn timeout(&self) -> EpollTimeout {
        self.flap.as_ref().map_or(EpollTimeout::NONE, |flap| {
            let left = flap.next.saturating_duration_since(Instant::now());
            // Rounded up: a timeout of zero would spin for the last millisecond.
            let left = left.as_millis().saturating_add(1);
            u16::try_from(left).map_or(EpollTimeout::NONE, EpollTimeout::from)
        })
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, server: &mut Server) -> anyhow::Result<()> {
        if let Some(flap) = &mut self.flap
            && Instant::now() >= flap.next
        {
            flap.next += flap.every;
            if server.is_open() { server.close() } else { server.listen()? }
        }
        Ok(())
    }

    /// Reads and obeys; false at the end of the input.
    pub(super) fn read(&mut self, server: &mut Server) -> anyhow::Result<bool> {
        let mut bytes = [0; 256];
        let length = read(io::stdin(), &mut bytes)?;
        self.text.extend_from_slice(bytes.get(..length).unwrap_or(&[]));
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            self.obey(server, &String::from_utf8_lossy(&line))?;
        }
        Ok(length > 0)
    }

    /// Every line is answered with one.
    fn obey(&mut self, server: &mut Server, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["close"] => {
                self.flap = None;
                server.close();
            }
            ["listen"] => {
                self.flap = None;
                server.listen()?;
            }
            ["flap", every] => {
                let every = Duration::from_millis(every.parse()?);
                self.flap = Some(Flap { every, next: Instant::now() });
            }
            ["status", name, status] => {
                let status = status.parse()?;
                for door in server.doors.iter_mut().filter(|door| door.name == name) {
                    door.status = status;
                }
            }
            ["count"] => {
                let super::Count { open, most, accepted } = server.count;
                say(&format!("{open} {most} {accepted}"))?;
                return Ok(());
            }
            _ => anyhow::bail!("what is {line:?}?"),
        }
        self.tick(server)?;
        say("done")?;
        Ok(())
    }
}
