//! `mesh-load probe`: one connection, looked at closely.

use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::json;

use super::{Target, monotonic_ns, wire};

/// Longest wait for a connection that nobody answers.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(target: Target) -> anyhow::Result<()> {
    let start = monotonic_ns();
    let connected = wire::connect_within(target.target, PATIENCE);
    let connect_ns = monotonic_ns().saturating_sub(start);
    let report = match connected {
        Err(error) => json!({
            "connected": false,
            "errno": error.raw_os_error(),
            "error": error.to_string(),
            "connect_ns": connect_ns,
        }),
        Ok(mut stream) => {
            let peer = stream.peer_addr()?.to_string();
            let local = stream.local_addr()?.to_string();
            let answer = wire::talk(&mut stream, target.mode);
            json!({
                "connected": true,
                "connect_ns": connect_ns,
                "peer": peer,
                "local": local,
                "name": answer.as_ref().ok().map(|answer| answer.name.as_str()),
                "error": answer.as_ref().err().map(ToString::to_string),
            })
        }
    };
    writeln!(io::stdout().lock(), "{report}")?;
    Ok(())
}
