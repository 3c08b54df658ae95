//! The ledger's file: a JSON object a line. The first says whose counters they are, the others
//! are steps.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use mesh_common::addr::IpKey;
use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::book::Step;
use super::count::Count;
use super::edges::EdgeStep;
use super::{Entry, Sources};
use crate::edges::Source;

/// Version of the file's format.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    boot: String,
    backends: u32,
    services: u32,
    reasons: u32,
    #[serde(default)]
    edges: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Book {
    Backends,
    Services,
    Reasons,
    Edges,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Leave,
    Stay,
    Settle,
    Mark,
    Total,
    Name,
    Drop,
    Fold,
}

/// The client, of whom there is at most one, and where connections go.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    cgroup: u64,
    backend: u32,
    generation: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    book: Book,
    verb: Verb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edge: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup: Option<u64>,
    /// A name; others are `other`, and who is not known has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    other: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    udp: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    count: Vec<u64>,
}

/// The first line, without its end.
pub(super) fn header(sources: &Sources) -> serde_json::Result<String> {
    serde_json::to_string(&Header {
        format: FORMAT,
        boot: sources.boot.clone(),
        backends: sources.backends,
        services: sources.services,
        reasons: sources.reasons,
        edges: sources.edges,
    })
}

/// Reads the first line; `None` where it is something else.
pub(super) fn parse_header(line: &str) -> Option<Sources> {
    let Header { format, boot, backends, services, reasons, edges } =
        serde_json::from_str(line).ok()?;
    (format == FORMAT).then_some(Sources { boot, backends, services, reasons, edges })
}

/// A step, without the line's end.
pub(super) fn entry(entry: &Entry) -> serde_json::Result<String> {
    let line = match entry {
        Entry::Backend(step) => line(Book::Backends, step),
        Entry::Service(step) => line(Book::Services, step),
        Entry::Reason(step) => line(Book::Reasons, step),
        Entry::Edge(step) => edge_line(step),
    };
    serde_json::to_string(&line)
}

/// Reads a step; `None` where it is something else.
pub(super) fn parse_entry(line: &str) -> Option<Entry> {
    let line: Line = serde_json::from_str(line).ok()?;
    Some(match line.book {
        Book::Backends => Entry::Backend(step::<BackendCounters>(&line)?),
        Book::Services => Entry::Service(step::<ServiceCounters>(&line)?),
        Book::Reasons => Entry::Reason(step::<ReasonCount>(&line)?),
        Book::Edges => Entry::Edge(edge_step(&line)?),
    })
}

fn line<C: Count>(book: Book, step: &Step<C>) -> Line {
    let (verb, index, account, count) = match step {
        Step::Leave(index, account) => (Verb::Leave, Some(*index), Some(account), None),
        Step::Stay(index) => (Verb::Stay, Some(*index), None, None),
        Step::Settle(index, account, raw) => (Verb::Settle, Some(*index), Some(account), Some(raw)),
        Step::Mark(index, raw) => (Verb::Mark, Some(*index), None, Some(raw)),
        Step::Total(account, total) => (Verb::Total, None, Some(account), Some(total)),
    };
    Line { verb, index, count: numbers(count), ..blank(book, account) }
}

fn numbers<C: Count>(count: Option<&C>) -> Vec<u64> {
    count.map(Count::numbers).unwrap_or_default()
}

/// A line with nothing but an account.
fn blank(book: Book, account: Option<&Account>) -> Line {
    Line {
        book,
        verb: Verb::Total,
        index: None,
        edge: None,
        cgroup: None,
        source: None,
        other: false,
        service: account.and_then(|account| text(account.service.as_ref())),
        udp: account.is_some_and(|account| account.udp),
        version: account.and_then(|account| text(account.version.as_ref())),
        workload: account.and_then(|account| text(account.workload.as_ref())),
        count: Vec::new(),
    }
}

fn edge_line(step: &EdgeStep) -> Line {
    let (verb, key, source, account, count) = match step {
        EdgeStep::Name(cgroup, name) => {
            let (cgroup, source) = (Some(*cgroup), text(name.as_ref()));
            return Line { verb: Verb::Name, cgroup, source, ..blank(Book::Edges, None) };
        }
        EdgeStep::Settle(key, source, account, raw) => {
            (Verb::Settle, Some(key), Some(source), Some(account), Some(raw))
        }
        EdgeStep::Drop(key) => (Verb::Drop, Some(key), None, None, None),
        EdgeStep::Fold(source) => (Verb::Fold, None, Some(source), None, None),
        EdgeStep::Mark(key, raw) => (Verb::Mark, Some(key), None, None, Some(raw)),
        EdgeStep::Total(source, account, total) => {
            (Verb::Total, None, Some(source), Some(account), Some(total))
        }
    };
    let edge = key.map(|key| Key {
        client: (key.client != IpKey::default()).then(|| key.client.to_ip()),
        cgroup: key.cgroup,
        backend: key.backend.index,
        generation: key.generation,
    });
    let (source, other) = match source {
        Some(Source::Workload(name)) => (Some(name.to_string()), false),
        Some(Source::Other) => (None, true),
        Some(Source::Unknown) | None => (None, false),
    };
    Line { verb, edge, source, other, count: numbers(count), ..blank(Book::Edges, account) }
}

fn text(name: Option<&impl Display>) -> Option<String> {
    name.map(ToString::to_string)
}

fn step<C: Count>(line: &Line) -> Option<Step<C>> {
    let account = account(line)?;
    let count = || C::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Leave => Step::Leave(line.index?, account),
        Verb::Stay => Step::Stay(line.index?),
        Verb::Settle => Step::Settle(line.index?, account, count()?),
        Verb::Mark => Step::Mark(line.index?, count()?),
        Verb::Total => Step::Total(account, count()?),
        Verb::Name | Verb::Drop | Verb::Fold => return None,
    })
}

fn account(line: &Line) -> Option<Account> {
    Some(Account {
        service: name(line.service.as_deref()).ok()?,
        udp: line.udp,
        version: name(line.version.as_deref()).ok()?,
        workload: name(line.workload.as_deref()).ok()?,
    })
}

fn edge_step(line: &Line) -> Option<EdgeStep> {
    let key = || {
        line.edge.as_ref().map(|Key { client, cgroup, backend, generation }| EdgeKey {
            client: client.map(IpKey::from_ip).unwrap_or_default(),
            cgroup: *cgroup,
            backend: BackendIndex { index: *backend },
            generation: *generation,
        })
    };
    let label = name(line.source.as_deref()).ok()?;
    let nobody = if line.other { Source::Other } else { Source::Unknown };
    let source = label.clone().map_or(nobody, Source::Workload);
    let count = || EdgeCounters::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Name => EdgeStep::Name(line.cgroup?, label),
        Verb::Settle => EdgeStep::Settle(key()?, source, account(line)?, count()?),
        Verb::Drop => EdgeStep::Drop(key()?),
        Verb::Fold => EdgeStep::Fold(source),
        Verb::Mark => EdgeStep::Mark(key()?, count()?),
        Verb::Total => EdgeStep::Total(source, account(line)?, count()?),
        Verb::Leave | Verb::Stay => return None,
    })
}

/// A name that may be absent.
fn name<T: FromStr>(text: Option<&str>) -> Result<Option<T>, T::Err> {
    text.map(str::parse).transpose()
}
