//! Writes what the line accepts to the last good state, on a thread of its own: a disk that is
//! slow must not hold up the network.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::last_good::{Changes, LastGood};
use crate::memory;

/// Shortest time between two writes; what comes in between is written together.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes until nobody can send any more, and then what is left. What cannot be written is kept
/// and tried again.
pub fn run(state: &LastGood, changes: &Receiver<Changes>) {
    let mut pending = Changes::default();
    let mut next = Instant::now();
    let mut open = true;
    while open {
        if pending.is_empty() {
            match changes.recv() {
                Ok(change) => pending.merge(change),
                Err(_closed) => return,
            }
        }
        loop {
            match changes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(change) => pending.merge(change),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        match state.write(&pending) {
            Ok(()) => {
                let large = pending.len() >= memory::LARGE;
                pending = Changes::default();
                if large {
                    memory::give_back();
                }
            }
            Err(error) => tracing::error!("the last good state is not saved: {error}"),
        }
        next = Instant::now() + INTERVAL;
    }
}
