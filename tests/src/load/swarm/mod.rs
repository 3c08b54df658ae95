//! `mesh-load swarm` and `mesh-load reply`: event-driven exchanges on some connections, on demand,
//! for interleaved measurements; over TCP or a Unix socket. A connection says first how large its
//! questions and answers are.

pub(super) mod client;
mod conn;
pub(super) mod server;
mod stream;

use std::io::{self, Write as _};

pub use self::client::Options;
pub use self::server::ReplyOptions;
pub use self::stream::Address;

/// Bytes of what a connection says first.
const HEADER: usize = 8;

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
