//! A real Prometheus server with a configuration and a store of its own, and promtool. Nothing is
//! shared with an installed service.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::http;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::require;
use crate::scratch::Scratch;

/// Where it answers, inside the namespace.
const HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9090);
const PACKAGE: &str = "prometheus";

/// One server.
#[derive(Debug)]
pub struct Prometheus {
    // Before the folder it writes to.
    _process: Process,
    netns: Arc<NetNs>,
    scratch: Scratch,
}

/// A series of an answer, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Prometheus {
    /// Scrapes the targets of each job every second.
    pub fn start(netns: &Arc<NetNs>, jobs: &[(&str, &[SocketAddrV4])]) -> anyhow::Result<Self> {
        let program = require::program("prometheus", PACKAGE)?;
        let scratch = Scratch::create("prometheus")?;
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for (job, targets) in jobs {
            let targets: Vec<String> = targets.iter().map(|it| format!("'{it}'")).collect();
            let targets = targets.join(", ");
            // Writing to a string cannot fail.
            writeln!(config, "- {{job_name: {job}, static_configs: [{{targets: [{targets}]}}]}}")
                .ok();
        }
        let config = scratch.write("prometheus.yml", &config)?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg(format!("--web.listen-address={HTTP}"));
        let log = scratch.path().join("log");
        let place = Place::in_netns(netns);
        let process = Process::spawn("prometheus", command, &place, Some(&log))?;
        process.wait_until("readiness", Duration::from_secs(30), || {
            http::get_ok(netns, HTTP, "/-/ready").is_ok()
        })?;
        Ok(Self { _process: process, netns: Arc::clone(netns), scratch })
    }

    /// Answers an instant query.
    pub fn query(&self, expression: &str) -> anyhow::Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let body = http::get_ok(&self.netns, HTTP, &path).with_context(|| expression.to_owned())?;
        let answer: Value = serde_json::from_str(&body)?;
        let result = answer["data"]["result"].as_array().context("no result")?;
        result.iter().map(series).collect()
    }

    /// The only value of an answer; `None` where there is no series.
    pub fn value(&self, expression: &str) -> anyhow::Result<Option<f64>> {
        match self.query(expression)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.value)),
            many => bail!("{expression}: {many:?}"),
        }
    }

    /// Fails where a scrape of a target has failed the last time.
    pub fn check_targets(&self) -> anyhow::Result<()> {
        let body = http::get_ok(&self.netns, HTTP, "/api/v1/targets")?;
        let answer: Value = serde_json::from_str(&body)?;
        for target in answer["data"]["activeTargets"].as_array().context("no targets")? {
            if target["health"] != "up" || target["lastError"] != "" {
                bail!("{target}");
            }
        }
        Ok(())
    }

    /// Lines of its log that complain: of samples that it could not take, for example.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = fs::read_to_string(self.scratch.path().join("log"))?;
        let complains = |line: &&str| line.contains("level=warn") || line.contains("level=error");
        Ok(log.lines().filter(complains).map(ToOwned::to_owned).collect())
    }
}

fn series(series: &Value) -> anyhow::Result<Series> {
    let labels = serde_json::from_value(series["metric"].clone())?;
    let value = series["value"][1].as_str().context("no value")?.parse()?;
    Ok(Series { labels, value })
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

/// `OpenMetrics` in the text format of older days, which is all that promtool reads: there, a counter
/// has its `_total` everywhere.
#[must_use]
pub fn text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut counters: Vec<&str> = Vec::new();
    for line in open_metrics.lines() {
        let family = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"));
        counters.extend(family);
    }
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT"))
    {
        let head = ["# HELP ", "# TYPE "].iter().find(|head| line.starts_with(**head));
        let parts = head.and_then(|head| Some((head, line.strip_prefix(head)?.split_once(' ')?)));
        match parts {
            Some((head, (family, rest))) if counters.contains(&family) => {
                writeln!(text, "{head}{family}_total {rest}").ok();
            }
            _ => {
                writeln!(text, "{line}").ok();
            }
        }
    }
    text
}

/// What `promtool check metrics` says about metrics; nothing where all is well.
pub fn lint(folder: &Path, text: &str) -> anyhow::Result<String> {
    let program = require::program("promtool", PACKAGE)?;
    let log = folder.join("promtool");
    let mut child = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&log)?)
        .stderr(fs::File::options().append(true).open(&log)?)
        .spawn()?;
    child.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    let said = fs::read_to_string(&log)?;
    if said.is_empty() && !status.success() {
        bail!("promtool: {status}");
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_suffix_everywhere() {
        let open = "# HELP a b.\n# TYPE a counter\na_total 1\n# HELP c d.\n# TYPE c gauge\n\
                    # UNIT c seconds\nc{x=\"a\"} 1\n# EOF\n";
        let text = "# HELP a_total b.\n# TYPE a_total counter\na_total 1\n# HELP c d.\n\
                    # TYPE c gauge\nc{x=\"a\"} 1\n";
        assert_eq!(text_format(open), text);
    }

    #[test]
    fn expressions_can_be_in_an_address() {
        assert_eq!(percent_encoded("a{b=\"1\"}[1m]"), "a%7Bb%3D%221%22%7D%5B1m%5D");
    }
}
