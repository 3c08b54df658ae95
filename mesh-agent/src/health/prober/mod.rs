//! What follows when the checks change their mind about an endpoint: a line in the log, a report,
//! and, as long as the control plane says nothing about health, the change itself. Otherwise the
//! control plane decides, who hears others as well, and its word comes back like any other change.

#[cfg(test)]
mod tests;

use std::time::Duration;

use mesh_api::model::{Health, ObjectName};
use mesh_health::checker::{Event, Handle, Transition};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::xds::client::Line;

/// Most changes that are taken up at once.
const BATCH: usize = 1_024;
/// Least time between two changes of the maps: of all endpoints that a fresh agent knows nothing
/// about, something is decided within one interval.
const PAUSE: Duration = Duration::from_millis(20);

/// What has been found out about endpoints.
pub type Found = Vec<(ObjectName, Health)>;

/// What it needs.
#[derive(Debug)]
pub struct Prober<A> {
    /// What changes.
    pub events: UnboundedReceiver<Event>,
    /// Knows the state of all.
    pub handle: Handle,
    /// How the line to the control plane is.
    pub line: watch::Receiver<Line>,
    /// Has findings written to the maps; must not block.
    pub apply: A,
    /// Counts changes, for the report.
    pub changed: watch::Sender<u64>,
}

impl<A: Fn(Found) + Send + Sync> Prober<A> {
    /// Follows the checks until they end.
    pub async fn run(mut self) -> String {
        let mut led = self.line.borrow_and_update().decides_health();
        let mut lines = true;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = self.events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return "the health checks have ended".to_owned();
                    }
                    self.changed.send_modify(|count| *count += 1);
                    if self.decide(batch.drain(..).filter_map(decided).collect()) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                changed = self.line.changed(), if lines => {
                    lines = changed.is_ok();
                    let now = self.line.borrow_and_update().decides_health();
                    if led && !now {
                        // What was decided a moment ago may not have been heard.
                        let all = self.handle.statuses().await.into_iter();
                        let all = all.filter_map(|(name, it)| Some((name, it.health?)));
                        self.decide(all.collect());
                    }
                    led = now;
                }
            }
        }
    }

    /// Has findings applied, unless the control plane decides. Returns whether it did.
    fn decide(&self, found: Found) -> bool {
        // Held: nothing that the control plane says overtakes what is applied here.
        let line = self.line.borrow();
        let own = !line.decides_health() && !found.is_empty();
        if own {
            (self.apply)(found);
        }
        own
    }
}

fn decided(event: Event) -> Option<(ObjectName, Health)> {
    let Event::Changed(transition) = event else { return None };
    log(&transition);
    Some((transition.endpoint, transition.to))
}

fn log(transition: &Transition) {
    let Transition { endpoint, address, from, to, reason, latency } = transition;
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    // The usual beginning.
    let quiet = from.is_none() && *to == Health::Healthy;
    let (from, to) = (from.map_or("unknown", name), name(*to));
    if quiet {
        tracing::debug!(%endpoint, %address, from, to, latency_us, "health has changed");
    } else if reason.is_empty() {
        tracing::info!(%endpoint, %address, from, to, latency_us, "health has changed");
    } else {
        tracing::warn!(%endpoint, %address, from, to, reason, latency_us, "health has changed");
    }
}

const fn name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}
