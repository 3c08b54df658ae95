//! Ends that block, as simple programs do. One end asks in some small questions, each of which is
//! answered, then sends all it has, half-closes and waits in `recv`; the other reads to the end, waits
//! until that end is acknowledged, and answers. Clients and servers take turns at asking.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::plan::{Pattern, Plan, Side};
use super::{Options, beside};
use crate::ui;

/// Longer than it takes to acknowledge an end, which is what wakes the reader there.
const LATER: Duration = Duration::from_millis(10);
/// Small questions at the beginning of a connection, and their bytes.
const ROUNDS: usize = 20;
const SMALL: usize = 64;

/// What happened at both ends.
#[derive(Debug, Default)]
struct Seen {
    would_block: u64,
    mismatches: u64,
    /// Bytes that were read, from client to server and back.
    up: u64,
    down: u64,
}

/// What both threads know.
struct Both<'a> {
    options: &'a Options,
    pattern: Pattern,
    seen: Mutex<Seen>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let both =
        Both { options, pattern: Pattern::new(options.seed), seen: Mutex::new(Seen::default()) };
    beside(
        options,
        |ready| both.serve(&ready),
        || {
            for number in 0..options.connections {
                let mut stream = TcpStream::connect(options.target)
                    .with_context(|| format!("connection {number}"))?;
                both.talk(&mut stream, number, Side::Client);
            }
            Ok(())
        },
    )?;
    let seen = both.seen();
    ui::say(
        json!({
            "connections": options.connections,
            "bytes": seen.up + seen.down,
            "bytes_up": seen.up,
            "bytes_down": seen.down,
            "would_block": seen.would_block,
            "mismatches": seen.mismatches,
        })
        .to_string(),
    );
    Ok(())
}

impl Both<'_> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, ready: &Sender<()>) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.options.listen)?;
        ready.send(())?;
        for number in 0..self.options.connections {
            let (mut stream, _) = listener.accept()?;
            self.talk(&mut stream, number, Side::Server);
        }
        Ok(())
    }

    /// One end of a connection, to its end.
    fn talk(&self, stream: &mut TcpStream, number: u64, own: Side) {
        let plan = Plan::new(self.options.seed, number, self.options.largest);
        let asker = if number.is_multiple_of(2) { Side::Client } else { Side::Server };
        let outcome = stream.set_nodelay(true).and_then(|()| {
            if own == asker {
                self.ask(stream, &plan, own)
            } else {
                self.answer(stream, &plan, own)
            }
        });
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.seen().would_block += 1,
            // The other end has been told to come back, and has gone.
            Err(_) if self.seen().would_block > 0 => {}
            Err(_) => self.seen().mismatches += 1,
        }
    }

    fn ask(&self, stream: &mut TcpStream, plan: &Plan, own: Side) -> Result<()> {
        let small = self.pattern.at(0, 0, SMALL);
        for _ in 0..ROUNDS {
            stream.write_all(small)?;
            self.expect(stream, small, own)?;
        }
        stream.write_all(self.content(plan, own))?;
        stream.shutdown(Shutdown::Write)?;
        self.expect_end(stream, self.content(plan, own.other()), own)
    }

    fn answer(&self, stream: &mut TcpStream, plan: &Plan, own: Side) -> Result<()> {
        let small = self.pattern.at(0, 0, SMALL);
        for _ in 0..ROUNDS {
            self.expect(stream, small, own)?;
            stream.write_all(small)?;
        }
        self.expect_end(stream, self.content(plan, own.other()), own)?;
        thread::sleep(LATER);
        stream.write_all(self.content(plan, own))
    }

    /// All that one end sends beside what is small.
    fn content(&self, plan: &Plan, by: Side) -> &[u8] {
        let most = usize::try_from(plan.total(by)).unwrap_or(usize::MAX);
        self.pattern.at(0, 0, most)
    }

    fn expect(&self, stream: &mut TcpStream, content: &[u8], own: Side) -> Result<()> {
        let mut found = vec![0; content.len()];
        stream.read_exact(&mut found)?;
        self.compare(&found, content, own);
        Ok(())
    }

    fn expect_end(&self, stream: &mut TcpStream, content: &[u8], own: Side) -> Result<()> {
        let mut found = Vec::new();
        let outcome = stream.read_to_end(&mut found);
        if outcome.is_ok() {
            self.compare(&found, content, own);
        }
        outcome.map(drop)
    }

    fn compare(&self, found: &[u8], content: &[u8], own: Side) {
        let mut seen = self.seen();
        seen.mismatches += u64::from(found != content);
        let read = u64::try_from(found.len()).unwrap_or(0);
        match own {
            Side::Client => seen.down += read,
            Side::Server => seen.up += read,
        }
    }
}
