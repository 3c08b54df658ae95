//! The collector behind a lock, its handlers, and what people ask of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Collect;
use super::collector::{Collector, Limits, Report, TooManyNodes};
use super::counts::Counts;
use super::edge::{Select, Subject};
use super::metrics::{Size, TelemetryMetrics};

/// Most nodes.
const MAX_NODES: usize = 5_000;
/// Memory for the edges of all nodes, in bytes.
const EDGE_BYTES: usize = 64 << 20;
/// How often time is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Traffic of the mesh.
pub struct TrafficBook {
    collector: Mutex<Collector>,
    handlers: Vec<Arc<dyn Collect>>,
    metrics: TelemetryMetrics,
}

impl std::fmt::Debug for TrafficBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrafficBook")
    }
}

/// Numbers of what a question selects.
#[derive(Clone, Debug, Default)]
pub struct Stat {
    /// In order.
    pub rows: Vec<Row>,
    /// Nodes whose reports are late.
    pub stale_nodes: Vec<String>,
    /// Edges that there was no room for.
    pub omitted: u64,
}

/// One of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub subject: Subject<String>,
    /// Since the nodes began to count.
    pub total: Counts,
    /// Within the last time, and how long this was.
    pub window: Option<(Counts, Duration)>,
}

impl TrafficBook {
    /// Without any report.
    #[must_use]
    pub fn new(metrics: TelemetryMetrics) -> Self {
        let limits = Limits { nodes: MAX_NODES, edge_bytes: EDGE_BYTES };
        let services: Arc<dyn Collect> = Arc::new(metrics.services.clone());
        Self { collector: Mutex::new(Collector::new(limits)), handlers: vec![services], metrics }
    }

    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report in, and says whether the next must be full.
    pub fn heard(&self, report: Report, now: Instant) -> Result<bool, TooManyNodes> {
        let taken = self.collector().take(report, now)?;
        self.metrics.reported(taken.outcome);
        self.metrics.resets.inc_by(u64::try_from(taken.resets).unwrap_or(u64::MAX));
        if !taken.changes.is_empty() {
            for handler in &self.handlers {
                handler.collect(taken.node, &taken.changes);
            }
        }
        Ok(taken.send_all)
    }

    /// Totals, and what was counted within the last time.
    #[must_use]
    pub fn stat(&self, select: &Select, _window: Duration, now: Instant) -> Stat {
        let collector = self.collector();
        let mut totals: HashMap<Subject<&str>, Counts> = HashMap::new();
        for (_, edge, total) in collector.totals() {
            if let Some(subject) = select.subject(edge) {
                totals.entry(subject).or_default().add(total);
            }
        }
        let rows = totals.into_iter().map(|(subject, total)| Row {
            subject: subject.to_owned(),
            total,
            window: None,
        });
        let mut rows: Vec<Row> = rows.collect();
        let (stale_nodes, omitted) = (collector.late(now), collector.omitted());
        drop(collector);
        rows.sort_unstable_by(|a, b| a.subject.cmp(&b.subject));
        Stat { rows, stale_nodes, omitted }
    }

    /// Does what is due at a time.
    fn tick(&self, now: Instant) {
        let mut collector = self.collector();
        collector.forget(now);
        let (nodes, edges) = collector.size();
        let (late, omitted) = (collector.late(now).len(), collector.omitted());
        drop(collector);
        self.metrics.observe(Size { nodes, late, edges, omitted });
    }

    /// Follows the clock until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(Instant::now()),
                () = shutdown.cancelled() => return,
            }
        }
    }
}
