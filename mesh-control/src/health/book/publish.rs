//! What happens by itself: agents and holds that expire, and the snapshot for the agents, which
//! has a resource for exactly those endpoints whose health is known. Its revision only counts:
//! health belongs to no revision of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::resource::HEALTH;
use mesh_xds::snapshot::Snapshot;
use tokio_util::sync::CancellationToken;

use super::{DEBOUNCE, HealthBook};

/// How long it sleeps at most.
const LONG: Duration = Duration::from_hours(1);

impl HealthBook {
    /// Works until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut publish_at = None;
        loop {
            let now = Instant::now();
            self.expire(now);
            if now >= self.warm_at {
                let first = self.snapshots.borrow().is_none();
                if first || publish_at.is_some_and(|at| at <= now) {
                    self.publish();
                    publish_at = None;
                } else if publish_at.is_none() && !self.lock().unpublished.is_empty() {
                    publish_at = Some(now + DEBOUNCE);
                }
            }
            let due = self.lock().aggregator.due();
            let warm = (now < self.warm_at).then_some(self.warm_at);
            let next = [due, publish_at, warm].into_iter().flatten().min();
            let next = next.unwrap_or(now + LONG);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn expire(&self, now: Instant) {
        if self.lock().aggregator.due().is_none_or(|due| due > now) {
            return;
        }
        self.change(now, |state| {
            for node in state.aggregator.expire(now) {
                self.metrics.agents_gone.inc();
                tracing::warn!(
                    %node,
                    "the agent has stopped to report health: the control plane checks its \
                     endpoints until it is back"
                );
                let none = mesh_api::wire::NodeGuards {
                    node: node.to_string(),
                    ..mesh_api::wire::NodeGuards::default()
                };
                self.guard(state, &node, none);
            }
        });
    }

    pub(super) fn publish(&self) {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.unpublished);
        let changed: Vec<_> = changed
            .into_iter()
            .map(|name| (name.to_string(), state.aggregator.status(&name)))
            .collect();
        drop(state);
        let (first, previous) = {
            let snapshot = self.snapshots.borrow();
            (snapshot.is_none(), snapshot.clone().unwrap_or_default())
        };
        let before = |name: &str| previous.get(HEALTH, name);
        let mut edits = 0_usize;
        let mut builder = Snapshot::edit(&previous, previous.revision() + 1);
        for (name, status) in changed {
            let next = status.map(|status| self.resources.of(status));
            if before(&name) == next.as_ref() {
                continue;
            }
            edits += 1;
            builder = match next {
                Some(resource) => builder.insert(HEALTH, name, resource),
                None => builder.remove(HEALTH, &name),
            };
        }
        // Something else has changed about them, such as the reason.
        if edits == 0 && !first {
            return;
        }
        self.snapshots.send_replace(Some(Arc::new(builder.build())));
    }
}
