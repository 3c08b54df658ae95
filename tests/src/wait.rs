//! Waiting for what another process will do, without guessing how long it takes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Longest wait for anything that a healthy machine does at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Polls `check` until it says `Ok`; after `PATIENCE`, its last complaint is the error.
pub fn eventually(mut check: impl FnMut() -> Result<(), String>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(complaint) if Instant::now() > deadline => bail!("{complaint}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
