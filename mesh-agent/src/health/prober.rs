//! What follows when the checks change their mind about an endpoint: a line in the log, a report,
//! and, while the control plane is away, the change itself. Otherwise the control plane decides,
//! who hears others as well, and its word comes back like any other change.

use std::time::Duration;

use mesh_api::model::{Health, ObjectName};
use mesh_health::checker::{Event, Handle, Transition};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::worker::Worker;
use crate::xds::client::Line;

/// Most changes that are taken up at once.
const BATCH: usize = 1_024;
/// Least time between two changes of the maps: of all endpoints that a fresh agent knows nothing
/// about, something is decided within one interval.
const PAUSE: Duration = Duration::from_millis(20);

/// What it needs.
#[derive(Debug)]
pub struct Prober {
    /// What changes.
    pub events: UnboundedReceiver<Event>,
    /// Knows the state of all.
    pub handle: Handle,
    /// How the line to the control plane is.
    pub line: watch::Receiver<Line>,
    /// Who writes the maps.
    pub worker: Worker,
    /// Counts changes, for the report.
    pub changed: watch::Sender<u64>,
}

impl Prober {
    /// Follows the checks until they end.
    pub async fn run(mut self) -> String {
        let mut connected = self.line.borrow_and_update().connected;
        let mut lines = true;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = self.events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return "the health checks have ended".to_owned();
                    }
                    self.changed.send_modify(|count| *count += 1);
                    let found = batch.drain(..).filter_map(decided).collect();
                    if !connected {
                        self.apply(found);
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                changed = self.line.changed(), if lines => {
                    lines = changed.is_ok();
                    let now = self.line.borrow_and_update().connected;
                    if connected && !now {
                        // What was decided a moment ago may not have been heard.
                        self.apply_all().await;
                    }
                    connected = now;
                }
            }
        }
    }

    fn apply(&self, found: Vec<(ObjectName, Health)>) {
        if !found.is_empty() {
            self.worker.found(found);
        }
    }

    async fn apply_all(&self) {
        let all = self.handle.statuses().await.into_iter();
        self.apply(all.filter_map(|(name, status)| Some((name, status.health?))).collect());
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
