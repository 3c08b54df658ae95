//! The little statistics that the promises need: three sigma, percentiles, medians, and the
//! moment at which a split changed.

/// Counts up to 2^53 convert exactly; no test comes near.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds stay far below 2^53")]
#[must_use]
pub const fn float(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds as milliseconds.
#[must_use]
pub const fn millis(ns: u64) -> f64 {
    float(ns) / 1e6
}

/// How many standard deviations `observed` of `total` lies from the share that was asked for.
#[must_use]
pub fn sigmas(observed: u64, total: u64, share: f64) -> f64 {
    let total = float(total);
    let deviation = (total * share * (1.0 - share)).sqrt();
    (float(observed) - total * share).abs() / deviation.max(f64::MIN_POSITIVE)
}

/// `observed` of `total` as a share.
#[must_use]
pub fn share(observed: u64, total: u64) -> f64 {
    float(observed) / float(total.max(1))
}

/// Sorted figures, to be asked for percentiles.
#[derive(Clone, Debug)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Sorts `figures`.
    #[must_use]
    pub fn new(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The smallest figure that at least `percent` percent of the figures do not exceed;
    /// 0 when there are none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0.0)
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// Largest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.percentile(100)
    }

    /// Mean, 0 when there are none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let count = u64::try_from(self.0.len()).unwrap_or(0);
        self.0.iter().sum::<f64>() / float(count.max(1))
    }
}

/// Where in a sequence of yes and no the share of yes changed from `before` to `after`: the
/// index of the first item of the new regime, by maximum likelihood. The estimate is off by a
/// few items when the shares differ clearly.
#[must_use]
pub fn change_point(sequence: &[bool], before: f64, after: f64) -> usize {
    let gain = |yes: bool| {
        if yes { (after / before).ln() } else { ((1.0 - after) / (1.0 - before)).ln() }
    };
    // Summed from the back: the best start of a suffix that belongs to the new regime.
    let mut best = (sequence.len(), 0.0);
    let mut sum = 0.0;
    for (index, yes) in sequence.iter().enumerate().rev() {
        sum += gain(*yes);
        if sum > best.1 {
            best = (index, sum);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_one_to_hundred() {
        let figures = Figures::new((1..=100).map(f64::from).rev().collect());
        for percent in [1, 50, 90, 99, 100] {
            let expected = f64::from(u8::try_from(percent).unwrap());
            assert!((figures.percentile(percent) - expected).abs() < f64::EPSILON);
        }
        assert!((Figures::new(Vec::new()).median()).abs() < f64::EPSILON);
    }

    #[test]
    fn sigma_of_a_fair_coin() {
        assert!((sigmas(5_050, 10_000, 0.5) - 1.0).abs() < 1e-9);
        assert!(sigmas(6_000, 10_000, 0.5) > 3.0);
    }

    #[test]
    fn change_point_is_found() {
        let old = (0..1_000).map(|i| i % 10 == 0);
        let new = (0..1_000).map(|i| i % 2 == 0);
        let sequence: Vec<bool> = old.chain(new).collect();
        let at = change_point(&sequence, 0.1, 0.5);
        assert!((990..=1_010).contains(&at), "{at}");
    }
}
