//! `mesh-load reply`: the end that answers.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::conn::{Conn, Loop};
use super::stream::{Address, Door};
use super::{HEADER, say};

/// Options of `mesh-load reply`.
#[derive(Debug, Args)]
pub struct ReplyOptions {
    /// Addresses to listen on.
    #[arg(long, required = true)]
    listen: Vec<Address>,
}

/// A connection of the server's.
struct Served {
    conn: Conn,
    /// Bytes of a question and of its answer, once it has said so.
    sizes: Option<(usize, usize)>,
}

/// Serves for ever.
pub(in crate::load) fn run(options: &ReplyOptions) -> anyhow::Result<()> {
    let mut around = Loop::new()?;
    let mut doors = Vec::new();
    for (token, address) in (0..).zip(&options.listen) {
        let door = Door::open(address).with_context(|| format!("listen {address:?}"))?;
        around.add(&door, token)?;
        doors.push(door);
    }
    let mut next = u64::try_from(doors.len())?;
    let mut served: HashMap<u64, Served> = HashMap::new();
    say("ready")?;
    loop {
        for token in around.wait()? {
            if let Some(door) = doors.get(usize::try_from(token)?) {
                while let Ok(stream) = door.accept() {
                    around.add(&stream, next)?;
                    let conn = Conn::new(stream, next);
                    served.insert(next, Served { conn, sizes: None });
                    next += 1;
                }
            } else if let Some(one) = served.get_mut(&token)
                && one.serve(&mut around).is_err()
            {
                served.remove(&token);
            }
        }
    }
}

impl Served {
    /// Answers what is there. Nobody asks again before the answer is there.
    fn serve(&mut self, around: &mut Loop) -> anyhow::Result<()> {
        let Some((question, answer)) = self.introduced()? else { return Ok(()) };
        let answering = self.conn.to_write > 0;
        if answering {
            self.conn.write(around)?;
        } else if self.conn.go_on(around)? {
            (self.conn.to_write, self.conn.to_read) = (answer, question);
            self.conn.write(around)?;
        }
        Ok(())
    }

    fn introduced(&mut self) -> anyhow::Result<Option<(usize, usize)>> {
        if self.sizes.is_some() {
            return Ok(self.sizes);
        }
        let mut header = [0; HEADER];
        let read = match self.conn.stream.read(&mut header) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            read => read?,
        };
        ensure!(read == HEADER, "an end, or a short header");
        let [a, b, c, d, rest @ ..] = header;
        let size = |bytes| usize::try_from(u32::from_be_bytes(bytes));
        self.sizes = Some((size([a, b, c, d])?, size(rest)?));
        self.conn.to_read = size([a, b, c, d])?;
        Ok(self.sizes)
    }
}
