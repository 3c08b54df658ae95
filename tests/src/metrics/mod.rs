//! Reads Prometheus text, as far as the tests ask; `catalogue` compares it with docs/metrics.md.

pub mod catalogue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::stats::float;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<Sample>);

/// One line of a scrape.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Metrics {
    /// Parses the text format; lines that do not fit are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Sum over all samples of `name` that carry all of `labels`. What endpoints' nodes count as well is
    /// left out, unless `labels` say which reporter is meant.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let twice = |sample: &&Sample| {
            sample.labels.get("reporter").is_some_and(|by| by == "destination")
                && labels.iter().all(|(key, _)| *key != "reporter")
        };
        self.0
            .iter()
            .filter(|sample| sample.name == name && !twice(sample))
            .filter(|sample| {
                labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
            })
            .map(|sample| sample.value)
            .sum()
    }

    /// Compares the sum with what it should be.
    pub fn expect(&self, name: &str, labels: &[(&str, &str)], value: u64) -> Result<(), String> {
        let found = self.sum(name, labels);
        if (found - float(value)).abs() < 0.5 {
            return Ok(());
        }
        Err(format!("{name}{labels:?}: {found} instead of {value}"))
    }

    /// All samples.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.0
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.trim().rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let labels = labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.trim().to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}
