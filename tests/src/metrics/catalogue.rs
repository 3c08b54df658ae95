//! Which metrics there are, by docs/metrics.md and by what is exposed: names as Prometheus has them,
//! types, labels and units.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};

use super::Metrics;

/// The documentation.
const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// Sets of labels that are listed once.
const SETS: [&str; 2] = ["Istio's", "the mesh's"];

/// What is said of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Names of its labels, but for `le` of a histogram.
    pub labels: BTreeSet<String>,
    /// `seconds` or `bytes`; whatever else it counts is not in its name.
    pub unit: Option<&'static str>,
}

/// By name.
pub type Catalogue = BTreeMap<String, Metric>;

/// Who exposes metrics: a part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Agent,
    ControlPlane,
}

/// The metrics of one of them by the documentation.
pub fn documented(who: Who) -> anyhow::Result<Catalogue> {
    let heading = match who {
        Who::Agent => "## Agent\n",
        Who::ControlPlane => "## Control plane\n",
    };
    let (_, part) = DOCUMENT.split_once(heading).context("docs/metrics.md has other parts")?;
    let part = part.split("\n## ").next().unwrap_or_default();
    let mut catalogue = Catalogue::new();
    for line in part.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { continue };
        if !name.starts_with('`') {
            continue;
        }
        let name = quoted(name).next().context("a name in backticks")?.to_owned();
        let listed = SETS.iter().find(|set| labels.starts_with(**set));
        let mut all = listed.map_or_else(|| Ok(BTreeSet::new()), |name| set(part, name))?;
        all.extend(quoted(labels).map(ToOwned::to_owned));
        if meaning.is_empty() {
            bail!("{name} means nothing");
        }
        let unit = ["seconds", "bytes"].into_iter().find(|it| *it == unit);
        let metric = Metric { kind: kind.to_owned(), labels: all, unit };
        if catalogue.insert(name.clone(), metric).is_some() {
            bail!("{name} is documented twice");
        }
    }
    Ok(catalogue)
}

/// The paragraph that lists a set of labels.
fn set(part: &str, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let (first, rest) = name.split_at(1);
    let start = format!("\n\n{}{rest} labels: ", first.to_uppercase());
    let (_, list) = part.split_once(&start).with_context(|| format!("no list of {name} labels"))?;
    let list = list.split("\n\n").next().unwrap_or_default();
    Ok(quoted(list).map(ToOwned::to_owned).collect())
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The metrics of a scrape that have samples.
#[must_use]
pub fn exposed(text: &str) -> Catalogue {
    let mut catalogue = Catalogue::new();
    for (family, kind) in
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
    {
        let total = if kind == "counter" { "_total" } else { "" };
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(unit));
        let metric = Metric { kind: kind.to_owned(), labels: BTreeSet::new(), unit };
        catalogue.insert(format!("{family}{total}"), metric);
    }
    let scrape = Metrics::parse(text);
    let mut found = BTreeSet::new();
    for sample in scrape.samples() {
        let name = ["", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| sample.name.strip_suffix(suffix))
            .find(|name| catalogue.contains_key(*name));
        if let Some((name, metric)) = name.and_then(|name| Some((name, catalogue.get_mut(name)?))) {
            metric.labels.extend(sample.labels.keys().filter(|label| *label != "le").cloned());
            found.insert(name.to_owned());
        }
    }
    catalogue.retain(|name, _| found.contains(name));
    catalogue
}

/// What breaks the rules for names and labels.
#[must_use]
pub fn breaches(catalogue: &Catalogue) -> Vec<String> {
    let mut found = Vec::new();
    for (name, metric) in catalogue {
        let base = name.strip_suffix("_total").unwrap_or(name);
        let ours = [
            "istio_tcp_",
            "mesh_tcp_",
            "mesh_bpf_",
            "mesh_agent_",
            "mesh_control_",
            "mesh_xds_",
            "mesh_trace_",
        ];
        if !ours.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(format!("{name}: an unknown prefix"));
        }
        if (metric.kind == "counter") != name.ends_with("_total") {
            found.push(format!("{name}: counters, and only they, end in _total"));
        }
        if !["counter", "gauge", "histogram"].contains(&metric.kind.as_str()) {
            found.push(format!("{name}: no type is called {:?}", metric.kind));
        }
        if metric.unit.is_some_and(|unit| !base.ends_with(&format!("_{unit}"))) {
            found.push(format!("{name}: does not end in its unit"));
        }
        let part = |words: &[&str]| base.split('_').any(|part| words.contains(&part));
        if part(&["ms", "us", "ns", "milliseconds", "microseconds", "kb", "mb", "percent", "cp"]) {
            found.push(format!("{name}: no base unit, or an abbreviation"));
        }
        let address = |label: &&String| {
            label.split('_').any(|part| ["ip", "address", "addr", "pod", "id"].contains(&part))
        };
        if let Some(label) = metric.labels.iter().find(address) {
            found
                .push(format!("{name}: label {label} has as many values as there are connections"));
        }
    }
    found
}
