//! The collector and the series behind locks, and what people ask of them. No lock is held while
//! steps are read, and none across an `await`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Collect;
use super::collector::{Change, Collector, NodeId, Report, Reporting, TooManyNodes};
use super::config::TrafficConfig;
use super::edge::Select;
use super::metrics::{Size, TelemetryMetrics};
use super::query::{Line, Picture, Row, Rows, totals};
use super::series::SeriesBook;

/// How often time is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Seconds between two looks for what can be forgotten.
const FORGET: u64 = 60;
/// Most points of one answer, of all rows: some 3 MB, where clients take 4 MB.
const MAX_POINTS: u64 = 60_000;

/// Traffic of the mesh.
pub struct TrafficBook {
    start: Instant,
    state: Mutex<State>,
    history: Arc<History>,
    handlers: Vec<Arc<dyn Collect>>,
    metrics: TelemetryMetrics,
}

/// Locked before the history, where both are.
struct State {
    collector: Collector,
    /// Seconds since the start, as far as the history knows.
    second: u64,
    /// When something was forgotten last.
    forgot: u64,
}

struct History(Mutex<SeriesBook>);

impl History {
    fn lock(&self) -> MutexGuard<'_, SeriesBook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collect for History {
    fn collect(&self, node: NodeId, changes: &[Change]) {
        self.lock().grow(node, changes);
    }
}

impl fmt::Debug for TrafficBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// What was counted over time.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// In order.
    pub lines: Vec<Line>,
    /// Time of a point.
    pub step: Duration,
    /// How long ago the last point ended.
    pub since_end: Duration,
}

/// The answer would be too large.
#[derive(Debug, thiserror::Error)]
#[error(
    "{rows} rows of {points} points are too much for one answer: name a namespace, a service, a \
     workload or a node, or ask for fewer points"
)]
pub struct TooMuch {
    rows: usize,
    points: u64,
}

impl TrafficBook {
    /// Without any report.
    #[must_use]
    pub fn new(config: TrafficConfig, metrics: TelemetryMetrics, now: Instant) -> Self {
        let series = SeriesBook::new(config.series(), config.history_bytes());
        let history = Arc::new(History(Mutex::new(series)));
        let collector = Collector::new(config.collector());
        let handlers: Vec<Arc<dyn Collect>> =
            vec![Arc::<History>::clone(&history), Arc::new(metrics.services.clone())];
        Self {
            start: now,
            state: Mutex::new(State { collector, second: 0, forgot: 0 }),
            history,
            handlers,
            metrics,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the seconds before `now` be over.
    fn roll(&self, state: &mut State, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        if second > state.second {
            state.second = second;
            self.history.lock().advance(second, &state.collector.attendance(now));
        }
    }

    /// Takes a report in, and says whether the next must be full.
    pub fn heard(&self, report: Report, now: Instant) -> Result<bool, TooManyNodes> {
        let mut state = self.lock();
        self.roll(&mut state, now);
        let taken = state.collector.take(report, now);
        drop(state);
        let taken = taken?;
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
    pub fn stat(&self, select: &Select, window: Duration, now: Instant) -> Stat {
        let seconds = window.as_secs() + u64::from(window.subsec_nanos() > 0);
        let (picture, squeezed) = self.picture(select, seconds, u64::MAX, now);
        let state = self.lock();
        let totals = totals(&state.collector, select);
        let (stale_nodes, omitted) = (state.collector.late(now), state.collector.omitted());
        drop(state);
        let rows = Rows::new(select, &picture, totals).table();
        Stat { rows, stale_nodes, omitted: omitted.saturating_add(squeezed) }
    }

    /// What was counted over time, in so many points at most.
    pub fn plot(
        &self,
        select: &Select,
        range: Duration,
        points: u32,
        now: Instant,
    ) -> Result<Plot, TooMuch> {
        let (picture, _) = self.picture(select, range.as_secs(), points.into(), now);
        let totals = totals(&self.lock().collector, select);
        let rows = Rows::new(select, &picture, totals);
        let (count, points) = (rows.len(), picture.points());
        if u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(points) > MAX_POINTS {
            return Err(TooMuch { rows: count, points });
        }
        let within = now.saturating_duration_since(self.start).subsec_nanos();
        let since_end = picture.since_end() + Duration::from_nanos(within.into());
        Ok(Plot { lines: rows.lines(), step: picture.step(), since_end })
    }

    /// What the history has, and how many edges have no series of their own.
    fn picture(&self, select: &Select, seconds: u64, most: u64, now: Instant) -> (Picture, u64) {
        let mut state = self.lock();
        self.roll(&mut state, now);
        drop(state);
        let history = self.history.lock();
        let squeezed = u64::try_from(history.table().squeezed()).unwrap_or(u64::MAX);
        (Picture::new(&history, select, seconds, most), squeezed)
    }

    /// Looks at how the reports of each node come in.
    pub fn each_reporter(&self, now: Instant, mut look: impl FnMut(Reporting<'_>)) {
        self.lock().collector.reporters(now).for_each(&mut look);
    }

    /// Does what is due at a time.
    pub fn tick(&self, now: Instant) {
        let mut state = self.lock();
        self.roll(&mut state, now);
        if state.second >= state.forgot + FORGET {
            state.forgot = state.second;
            state.collector.forget(now);
        }
        let (nodes, edges) = state.collector.size();
        let (late, omitted) = (state.collector.late(now).len(), state.collector.omitted());
        drop(state);
        self.metrics.observe(Size { nodes, late, edges, omitted });
        self.metrics.history.observe(&self.history.lock());
    }

    /// Memory taken by edges, series and steps, by the book's own account, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let edges = self.lock().collector.bytes();
        let history = self.history.lock();
        let steps: usize = history.logs().map(super::series::log::Log::bytes).sum();
        edges + history.table().bytes() + steps
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
