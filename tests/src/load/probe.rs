//! `mesh-load probe`: one connection, looked at closely.

use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Mode, Target, datagram, monotonic_ns, wire};

/// Longest wait for a connection that nobody answers.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(target: Target) -> anyhow::Result<()> {
    let report = if target.mode.is_udp() { datagram(target)? } else { stream(target)? };
    writeln!(io::stdout().lock(), "{report}")?;
    Ok(())
}

fn stream(target: Target) -> io::Result<Value> {
    let start = monotonic_ns();
    let connected = wire::connect_within(target.target, PATIENCE);
    let connect_ns = monotonic_ns().saturating_sub(start);
    Ok(match connected {
        Err(error) => failed(&error, connect_ns),
        Ok(mut stream) => {
            let peer = stream.peer_addr()?.to_string();
            let local = stream.local_addr()?.to_string();
            let answer = wire::talk(&mut stream, target.mode, wire::PATIENCE);
            json!({
                "connected": true,
                "connect_ns": connect_ns,
                "peer": peer,
                "local": local,
                "name": answer.as_ref().ok().map(|answer| answer.name.as_str()),
                "error": answer.as_ref().err().map(ToString::to_string),
            })
        }
    })
}

/// `connected` says here whether `connect()`, or without it the first `sendto()`, succeeded.
/// `peer` is what `getpeername` shows, or without `connect()` the source of the reply.
fn datagram(target: Target) -> io::Result<Value> {
    let Target { target, mode } = target;
    let connected = mode == Mode::Udp;
    let start = monotonic_ns();
    let opened = datagram::open(target, connected).and_then(|socket| {
        let request = "probe";
        if connected {
            socket.send(request.as_bytes())?;
        } else {
            socket.send_to(request.as_bytes(), target)?;
        }
        Ok(socket)
    });
    let connect_ns = monotonic_ns().saturating_sub(start);
    let socket = match opened {
        Err(error) => return Ok(failed(&error, connect_ns)),
        Ok(socket) => socket,
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 256];
    let received = if connected {
        let peer = socket.peer_addr()?;
        socket.recv(&mut answer).map(|length| (length, peer))
    } else {
        socket.recv_from(&mut answer)
    };
    Ok(match received {
        Ok((length, peer)) => json!({
            "connected": true,
            "connect_ns": connect_ns,
            "peer": peer.to_string(),
            "local": socket.local_addr()?.to_string(),
            "name": wire::first_word(answer.get(..length).unwrap_or(&[])),
        }),
        Err(error) => json!({
            "connected": true,
            "connect_ns": connect_ns,
            "errno": error.raw_os_error(),
            "error": error.to_string(),
        }),
    })
}

fn failed(error: &io::Error, connect_ns: u64) -> Value {
    json!({
        "connected": false,
        "errno": error.raw_os_error(),
        "error": error.to_string(),
        "connect_ns": connect_ns,
    })
}
