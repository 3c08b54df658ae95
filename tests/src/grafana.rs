//! The dashboard for Grafana in deploy/: its expressions, and the names in them.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::metrics::catalogue::{Catalogue, Who, documented};

const DASHBOARD: &str = include_str!("../../deploy/grafana/mesh.json");

/// Words of `PromQL` that are neither metrics nor functions; the latter are before a parenthesis.
const WORDS: [&str; 12] = [
    "and",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "or",
    "unless",
    "without",
    "inf",
];
/// After these a list of labels follows.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Labels that Prometheus adds, or that histograms have.
const GIVEN: [&str; 3] = ["instance", "job", "le"];

/// All expressions: of the panels, and of the variables.
pub fn expressions() -> anyhow::Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
        for target in targets.with_context(|| format!("{} shows nothing", panel["title"]))? {
            let expression = target["expr"].as_str().context("a target without an expression")?;
            found.push(expression.to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().context("no variables")? {
        if let Some(query) = variable["query"]["query"].as_str() {
            let series = query.strip_prefix("label_values(").and_then(|it| it.split_once(", "));
            let (metric, label) = series.with_context(|| format!("another query: {query}"))?;
            found.push(format!("count by ({}) ({metric})", label.trim_end_matches(')')));
        }
    }
    Ok(found)
}

/// As Grafana sends it, with all services chosen.
#[must_use]
pub fn as_sent(expression: &str) -> String {
    expression.replace("$__rate_interval", "1m").replace("$service", ".*")
}

/// Names in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub metrics: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

impl Names {
    /// Reads an expression, as far as a dashboard needs it.
    pub fn of(expression: &str) -> anyhow::Result<Self> {
        let mut names = Self::default();
        let mut rest = expression;
        // Whether a list of labels is open, or would be opened by the next parenthesis.
        let (mut listing, mut grouped) = (false, false);
        while let Some(first) = rest.chars().next() {
            if first == '"' || first == '[' {
                let end = if first == '"' { '"' } else { ']' };
                let (_, after) =
                    rest.get(1..).and_then(|it| it.split_once(end)).context("no end")?;
                rest = after;
            } else if first.is_ascii_alphabetic() || first == '_' {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (word, after) = rest.split_at(length.unwrap_or(rest.len()));
                rest = after;
                if listing {
                    names.labels.insert(word.to_owned());
                } else if !WORDS.contains(&word) && !after.trim_start().starts_with('(') {
                    // An aggregation may have its grouping before what is aggregated.
                    let next = after.trim_start();
                    if !GROUPINGS.iter().any(|it| next.starts_with(&format!("{it} ("))) {
                        names.metrics.insert(word.to_owned());
                    }
                }
                grouped = GROUPINGS.contains(&word);
            } else if first.is_ascii_digit() {
                let number = |c: char| c.is_ascii_alphanumeric() || c == '.';
                rest = rest.trim_start_matches(number);
            } else {
                match first {
                    '{' => listing = true,
                    '(' if grouped => listing = true,
                    '}' | ')' => listing = false,
                    _ => {}
                }
                grouped &= first == ' ';
                rest = rest.get(first.len_utf8()..).context("no character boundary")?;
            }
        }
        Ok(names)
    }

    /// Fails where a metric is not documented, or none of them has one of the labels.
    pub fn check(&self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let mut labels: BTreeSet<&str> = GIVEN.into();
        if self.metrics.is_empty() {
            bail!("no metric");
        }
        for name in &self.metrics {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
            let histogram = base.and_then(|base| catalogue.get(base));
            let metric = histogram.filter(|metric| metric.kind == "histogram");
            let Some(metric) = metric.or_else(|| catalogue.get(name)) else {
                bail!("{name} is not in docs/metrics.md");
            };
            labels.extend(metric.labels.iter().map(String::as_str));
        }
        for label in &self.labels {
            if !labels.contains(label.as_str()) {
                bail!("no metric here has the label {label}");
            }
        }
        Ok(())
    }
}

/// All that the mesh exposes.
pub fn catalogue() -> anyhow::Result<Catalogue> {
    let mut all = documented(Who::Agent)?;
    all.extend(documented(Who::ControlPlane)?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_has_only_metrics_and_labels_that_exist() {
        let catalogue = catalogue().unwrap();
        let expressions = expressions().unwrap();
        assert!(expressions.len() > 30);
        for expression in expressions {
            let checked = Names::of(&expression).and_then(|names| names.check(&catalogue));
            assert!(checked.is_ok(), "{expression}: {checked:?}");
        }
    }

    #[test]
    fn names_are_told_from_functions_words_and_values() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (expression, metrics, labels) in [
            (
                "sum by (a, b) (rate(x_total{c=~\"y_total\"}[1m])) / 1e-9",
                &["x_total"][..],
                &["a", "b", "c"][..],
            ),
            ("scalar(max(x)) - y", &["x", "y"], &[]),
            ("x - on() min(y) > 0", &["x", "y"], &[]),
            ("sum(x) without (a)", &["x"], &["a"]),
            ("histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", &["x_bucket"], &["le"]),
        ] {
            let expected = Names { metrics: set(metrics), labels: set(labels) };
            assert_eq!(Names::of(expression).unwrap(), expected, "{expression}");
        }
    }

    #[test]
    fn what_does_not_exist_is_found() {
        let catalogue = catalogue().unwrap();
        for expression in [
            "mesh_agent_conected",
            "mesh_agent_connected_bucket",
            "sum by (servise) (rate(istio_tcp_connections_opened_total[1m]))",
            "mesh_bpf_map_entries{program=\"x\"}",
            "1",
        ] {
            let names = Names::of(expression).unwrap();
            assert!(names.check(&catalogue).is_err(), "{expression}");
        }
    }
}
