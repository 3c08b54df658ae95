//! Numbers about the series.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{SeriesBook, TIERS};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: String,
}

impl StepLabel {
    fn new(step: u64) -> Self {
        Self { step: format!("{step}s") }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct HistoryMetrics {
    series: Gauge,
    evicted: Counter,
    overflowed: Counter,
    bytes: Family<StepLabel, Gauge>,
    seconds: Family<StepLabel, Gauge>,
}

impl HistoryMetrics {
    /// Adds them to a registry, at zero.
    pub fn register(&self, to: &mut Registry) {
        for tier in TIERS {
            self.bytes.get_or_create_owned(&StepLabel::new(tier.step));
            self.seconds.get_or_create_owned(&StepLabel::new(tier.step));
        }
        let it = self.series.clone();
        to.register("mesh_control_traffic_series", "Time series of traffic", it);
        let it = self.evicted.clone();
        let help = "Idle series given up to make room";
        to.register("mesh_control_traffic_series_evicted", help, it);
        let it = self.overflowed.clone();
        let help = "Counts that went into a series other, because there was no room for their own";
        to.register("mesh_control_traffic_series_overflow", help, it);
        let it = self.bytes.clone();
        let help = "Memory of what was counted over time, by length of steps";
        to.register("mesh_control_traffic_history_bytes", help, it);
        let it = self.seconds.clone();
        let help = "Time from the first step to the last, by length of steps";
        to.register("mesh_control_traffic_history_seconds", help, it);
    }

    /// Takes over how the series are doing.
    pub fn observe(&self, book: &SeriesBook) {
        self.series.set(i64::try_from(book.table().len()).unwrap_or(i64::MAX));
        let (evicted, overflowed) = book.table().lost();
        for (counter, count) in [(&self.evicted, evicted), (&self.overflowed, overflowed)] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        for log in book.logs() {
            let label = StepLabel::new(log.tier().step);
            let bytes = i64::try_from(log.bytes()).unwrap_or(i64::MAX);
            self.bytes.get_or_create_owned(&label).set(bytes);
            let seconds = i64::try_from(log.span()).unwrap_or(i64::MAX);
            self.seconds.get_or_create_owned(&label).set(seconds);
        }
    }
}
