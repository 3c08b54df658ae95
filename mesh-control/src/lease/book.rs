//! The leases behind a lock, and the signal that wakes who waits for the next deadline.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::Leases;

/// The one table of leases, shared by the writer, the API and the task that expires them.
#[derive(Debug, Default)]
pub struct LeaseBook {
    leases: Mutex<Leases>,
    changed: Notify,
}

impl LeaseBook {
    /// The table. Never held across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that deadlines may be sooner than before.
    pub fn announce(&self) {
        self.changed.notify_one();
    }

    /// Waits until a lease may be over. For one waiter.
    pub async fn due(&self) {
        loop {
            let next = self.lock().next_deadline();
            let changed = self.changed.notified();
            match next {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(deadline.into()) => return,
                    }
                }
                None => changed.await,
            }
        }
    }
}
