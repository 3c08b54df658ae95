//! The ledger's file: a JSON object a line. The first says whose counters they are, the others
//! are steps.

use std::fmt::Display;
use std::str::FromStr;

use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::book::Step;
use super::count::Count;
use super::{Entry, Sources};

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
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Book {
    Backends,
    Services,
    Reasons,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Leave,
    Stay,
    Settle,
    Mark,
    Total,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    book: Book,
    verb: Verb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
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
    })
}

/// Reads the first line; `None` where it is something else.
pub(super) fn parse_header(line: &str) -> Option<Sources> {
    let Header { format, boot, backends, services, reasons } = serde_json::from_str(line).ok()?;
    (format == FORMAT).then_some(Sources { boot, backends, services, reasons })
}

/// A step, without the line's end.
pub(super) fn entry(entry: &Entry) -> serde_json::Result<String> {
    let line = match entry {
        Entry::Backend(step) => line(Book::Backends, step),
        Entry::Service(step) => line(Book::Services, step),
        Entry::Reason(step) => line(Book::Reasons, step),
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
    Line {
        book,
        verb,
        index,
        service: account.and_then(|account| text(account.service.as_ref())),
        udp: account.is_some_and(|account| account.udp),
        version: account.and_then(|account| text(account.version.as_ref())),
        workload: account.and_then(|account| text(account.workload.as_ref())),
        count: count.map(Count::numbers).unwrap_or_default(),
    }
}

fn text(name: Option<&impl Display>) -> Option<String> {
    name.map(ToString::to_string)
}

fn step<C: Count>(line: &Line) -> Option<Step<C>> {
    let account = Account {
        service: name(line.service.as_deref()).ok()?,
        udp: line.udp,
        version: name(line.version.as_deref()).ok()?,
        workload: name(line.workload.as_deref()).ok()?,
    };
    let count = || C::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Leave => Step::Leave(line.index?, account),
        Verb::Stay => Step::Stay(line.index?),
        Verb::Settle => Step::Settle(line.index?, account, count()?),
        Verb::Mark => Step::Mark(line.index?, count()?),
        Verb::Total => Step::Total(account, count()?),
    })
}

/// A name that may be absent.
fn name<T: FromStr>(text: Option<&str>) -> Result<Option<T>, T::Err> {
    text.map(str::parse).transpose()
}
