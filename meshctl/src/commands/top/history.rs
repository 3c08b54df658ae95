//! Connections a second of each row, for the last minute.

use std::collections::{BTreeMap, VecDeque};

use mesh_api::wire;

use crate::output::units::float;
use crate::traffic::{Row, Subject};

/// Seconds that are kept.
pub(super) const SECONDS: usize = 60;

/// Rates by row; `None` where it is not known.
#[derive(Debug, Default)]
pub(super) struct History {
    rows: BTreeMap<Subject, Ring>,
    /// Milliseconds on the caller's clock.
    last_ms: Option<u64>,
}

/// Oldest first.
#[derive(Debug, Default)]
struct Ring {
    seconds: VecDeque<Option<f64>>,
    /// Connections opened up to the last answer.
    opened: Option<u64>,
}

impl Ring {
    fn push(&mut self, rate: Option<f64>, times: usize) {
        for _ in 0..times.min(SECONDS) {
            self.seconds.push_back(rate);
        }
        let more = self.seconds.len().saturating_sub(SECONDS);
        self.seconds.drain(..more);
    }
}

impl History {
    /// Forgets everything, and takes what the control plane knows of the last minute.
    pub(super) fn seed(&mut self, series: &wire::SeriesResponse) {
        *self = Self::default();
        let step = usize::try_from(series.step_ms.div_ceil(1000)).unwrap_or(usize::MAX).max(1);
        for row in &series.rows {
            let mut seconds = VecDeque::from(vec![None; SECONDS]);
            for point in &row.points {
                let opened = point.traffic.as_ref().map_or(0, |traffic| traffic.opened);
                let rate = float(opened) * 1000.0 / float(series.step_ms.max(1));
                let end = usize::try_from(point.ago).unwrap_or(usize::MAX).saturating_mul(step);
                for ago in end..end.saturating_add(step).min(SECONDS) {
                    if let Some(slot) = seconds.get_mut(SECONDS - 1 - ago) {
                        *slot = Some(rate);
                    }
                }
            }
            let subject = row.edge.clone().unwrap_or_default().into();
            self.rows.insert(subject, Ring { seconds, opened: None });
        }
    }

    /// Takes an answer; what was opened since the one before is spread over the time between.
    pub(super) fn answer(&mut self, rows: &[Row], now_ms: u64) {
        let passed = self.last_ms.map(|last| now_ms.saturating_sub(last));
        self.last_ms = Some(now_ms);
        let mut before = std::mem::take(&mut self.rows);
        for row in rows {
            let mut ring = before.remove(&row.subject).unwrap_or_default();
            let opened = row.total.opened;
            if let (Some(last), Some(passed)) = (ring.opened, passed) {
                let rate = float(opened.saturating_sub(last)) * 1000.0 / float(passed.max(1));
                let seconds = usize::try_from((passed + 500) / 1000).unwrap_or(SECONDS);
                ring.push(Some(rate), seconds.max(1));
            }
            ring.opened = Some(opened);
            self.rows.insert(row.subject.clone(), ring);
        }
    }

    /// The last minute in so many characters, newest at the right; a blank is not known.
    pub(super) fn bars(&self, subject: &Subject, width: usize) -> String {
        let width = width.min(SECONDS);
        let Some(ring) = self.rows.get(subject).filter(|_| width > 0) else {
            return String::new();
        };
        let missing = SECONDS - ring.seconds.len().min(SECONDS);
        let seconds: Vec<Option<f64>> =
            vec![None; missing].into_iter().chain(ring.seconds.iter().copied()).collect();
        let slice = |n: usize| seconds.get(n * SECONDS / width..(n + 1) * SECONDS / width);
        let means: Vec<Option<f64>> = (0..width).map(|n| slice(n).and_then(mean)).collect();
        let most = means.iter().copied().flatten().fold(0.0, f64::max);
        means.into_iter().map(|mean| mean.map_or(' ', |mean| bar(mean, most))).collect()
    }
}

/// Of what is known.
fn mean(seconds: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = seconds.iter().copied().flatten().collect();
    let count = u32::try_from(known.len()).ok().filter(|count| *count > 0)?;
    Some(known.iter().sum::<f64>() / f64::from(count))
}

/// The lowest is only for 0.
const fn bar(rate: f64, most: f64) -> char {
    const BARS: [(f64, char); 7] = [
        (1.0 / 7.0, '▂'),
        (2.0 / 7.0, '▃'),
        (3.0 / 7.0, '▄'),
        (4.0 / 7.0, '▅'),
        (5.0 / 7.0, '▆'),
        (6.0 / 7.0, '▇'),
        (1.0, '█'),
    ];
    if rate <= 0.0 {
        return '▁';
    }
    let mut rest: &[(f64, char)] = &BARS;
    while let [(part, bar), more @ ..] = rest {
        if rate <= most * *part {
            return *bar;
        }
        rest = more;
    }
    '█'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::tests::row;

    fn opened(opened: u64) -> Row {
        let mut row = Row::from(row("default", "reviews", 0, 0));
        row.total.opened = opened;
        row
    }

    #[test]
    fn each_second_is_what_was_opened_in_it() {
        let mut history = History::default();
        let subject = opened(0).subject;
        let mut total = 1_000_000;
        for (second, rate) in [0, 7, 14, 0, 49].into_iter().enumerate() {
            total += rate;
            history.answer(&[opened(total)], second as u64 * 1000);
        }
        let bars = history.bars(&subject, 60);
        // The first answer only says where counting begins.
        assert_eq!(bars.trim_start(), "▂▃▁█");
        assert_eq!(bars.chars().count(), 60);
        assert_eq!(history.bars(&subject, 15).trim_start(), "█");
        assert_eq!(history.bars(&Subject::default(), 15), "");
    }

    #[test]
    fn a_gap_is_filled_and_a_loss_counts_nothing() {
        let mut history = History::default();
        let subject = opened(0).subject;
        history.answer(&[opened(10)], 0);
        history.answer(&[opened(20)], 1000);
        history.answer(&[opened(50)], 4000);
        // The node has lost what it knew.
        history.answer(&[opened(5)], 5000);
        assert_eq!(history.bars(&subject, 60).trim_start(), "████▁");
        history.answer(&[], 6000);
        assert_eq!(history.bars(&subject, 60), "", "forgotten with its row");
    }

    #[test]
    fn the_control_plane_knows_what_was_before() {
        let point = |ago, opened| wire::SeriesPoint {
            ago,
            traffic: Some(wire::Traffic { opened, ..wire::Traffic::default() }),
            ..wire::SeriesPoint::default()
        };
        let subject = opened(0).subject;
        let edge = row("default", "reviews", 0, 0).edge;
        let rows = vec![wire::SeriesRow { edge, points: vec![point(2, 20), point(0, 70)] }];
        let mut history = History::default();
        history.seed(&wire::SeriesResponse { rows, step_ms: 2000, end_ms: 0 });
        let bars = history.bars(&subject, 60);
        assert_eq!(&bars.trim_start(), &"▃▃  ██");
        history.answer(&[opened(900)], 0);
        history.answer(&[opened(970)], 1000);
        assert_eq!(history.bars(&subject, 60).trim_start(), "▂▂  ▅▅█");
    }
}
