//! The ledger's file: a JSON object a line. The first says whose counters they are, the others
//! are steps.

mod refusals;

use std::fmt::Display;
use std::str::FromStr;

use mesh_api::model::Label;
use mesh_common::backend::BackendIndex;
use mesh_common::counter::{BackendCounters, ReasonCount, ServiceCounters};
use mesh_common::edge::{EdgeCounters, EdgeKey};
use mesh_common::inbound::{ClientId, EndpointId, InboundKey};
use mesh_common::refusal::RefusalCounters;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::book::Step;
use super::count::Count;
use super::edges::{EdgeStep, Move};
use super::inbound::InboundStep;
use super::{Entry, Sources};
use crate::edges::{Seat, Source};

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
    #[serde(default)]
    inbound: u32,
    #[serde(default)]
    refusals: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Book {
    Backends,
    Services,
    Reasons,
    Edges,
    Inbound,
    Refusals,
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
    Told,
    Move,
    Own,
    Others,
    Gone,
    Rest,
}

/// The client, and where connections go.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
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
    /// Of a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// Ids in the book of connections to this node's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<u64>,
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
    /// Of a move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<u64>,
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
        inbound: sources.inbound,
        refusals: sources.refusals,
    })
}

/// Reads the first line; `None` where it is something else.
pub(super) fn parse_header(line: &str) -> Option<Sources> {
    let Header { format, boot, backends, services, reasons, edges, inbound, refusals } =
        serde_json::from_str(line).ok()?;
    let sources = Sources { boot, backends, services, reasons, edges, inbound, refusals };
    (format == FORMAT).then_some(sources)
}

/// A step, without the line's end.
pub(super) fn entry(entry: &Entry) -> serde_json::Result<String> {
    let line = match entry {
        Entry::Backend(step) => line(Book::Backends, step),
        Entry::Service(step) => line(Book::Services, step),
        Entry::Reason(step) => line(Book::Reasons, step),
        Entry::Edge(step) => edge_line(step),
        Entry::Inbound(step) => inbound_line(step),
        Entry::Refusal(step) => refusals::line(step),
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
        Book::Inbound => Entry::Inbound(inbound_step(&line)?),
        Book::Refusals => Entry::Refusal(refusals::step(&line)?),
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
        number: None,
        endpoint: None,
        client: None,
        source: None,
        other: false,
        service: account.and_then(|account| text(account.service.as_ref())),
        udp: account.is_some_and(|account| account.udp),
        version: account.and_then(|account| text(account.version.as_ref())),
        workload: account.and_then(|account| text(account.workload.as_ref())),
        count: Vec::new(),
        refused: Vec::new(),
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
        EdgeStep::Seat(seat) => {
            let (verb, name) = match seat {
                Seat::Own(name) => (Verb::Own, name),
                Seat::Others(name) => (Verb::Others, name),
                Seat::Fold(name) => (Verb::Fold, name),
                Seat::Gone(name) => (Verb::Gone, name),
            };
            return Line { verb, source: Some(name.to_string()), ..blank(Book::Edges, None) };
        }
        EdgeStep::Told(number) => {
            let number = Some(*number);
            return Line { verb: Verb::Told, number, ..blank(Book::Edges, None) };
        }
        EdgeStep::Rest(account, count) => {
            let count = count.clone();
            return Line { verb: Verb::Rest, count, ..blank(Book::Edges, Some(account)) };
        }
        EdgeStep::Move(it) => return move_line(it),
        EdgeStep::Mark(key, raw) => (Verb::Mark, Some(key), None, None, Some(raw)),
        EdgeStep::Total(source, account, total) => {
            (Verb::Total, None, Some(source), Some(account), Some(total))
        }
    };
    let edge = key.map(|key| Key {
        cgroup: key.cgroup,
        backend: key.backend.index,
        generation: key.generation,
    });
    let (source, other) = source.map(spelt).unwrap_or_default();
    Line { verb, edge, source, other, count: numbers(count), ..blank(Book::Edges, account) }
}

fn move_line(Move { from, account, counters, refused }: &Move) -> Line {
    let (source, other) = spelt(from);
    let refused = Some(refused).filter(|refused| **refused != RefusalCounters::ZERO);
    let (count, refused) = (numbers(Some(counters)), numbers(refused));
    Line { verb: Verb::Move, source, other, count, refused, ..blank(Book::Edges, Some(account)) }
}

/// A name, and whether it stands for others.
fn spelt(source: &Source) -> (Option<String>, bool) {
    match source {
        Source::Workload(name) => (Some(name.to_string()), false),
        Source::Other => (None, true),
        Source::Unknown => (None, false),
    }
}

fn inbound_line(step: &InboundStep) -> Line {
    let of = |verb, key: &InboundKey, count: Option<&EdgeCounters>| Line {
        verb,
        endpoint: Some(key.endpoint.number),
        client: Some(key.client.number),
        count: numbers(count),
        ..blank(Book::Inbound, None)
    };
    match step {
        InboundStep::Client(id, name) => {
            let (client, source) = (Some(id.number), text(name.as_ref()));
            Line { verb: Verb::Name, client, source, ..blank(Book::Inbound, None) }
        }
        InboundStep::Endpoint(id, account) => {
            let endpoint = Some(id.number);
            Line { verb: Verb::Name, endpoint, ..blank(Book::Inbound, account.as_ref()) }
        }
        InboundStep::Settle(key, raw) => of(Verb::Settle, key, Some(raw)),
        InboundStep::Drop(key) => of(Verb::Drop, key, None),
        InboundStep::Mark(key, raw) => of(Verb::Mark, key, Some(raw)),
        InboundStep::Seat(name, own) => {
            let verb = if *own { Verb::Own } else { Verb::Others };
            Line { verb, source: Some(name.to_string()), ..blank(Book::Inbound, None) }
        }
        InboundStep::Total(source, account, total) => {
            let (source, other) = spelt(source);
            let count = numbers(Some(total));
            Line { source, other, count, ..blank(Book::Inbound, Some(account)) }
        }
    }
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
        Verb::Name
        | Verb::Drop
        | Verb::Fold
        | Verb::Told
        | Verb::Move
        | Verb::Own
        | Verb::Others
        | Verb::Gone
        | Verb::Rest => return None,
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
        line.edge.as_ref().map(|Key { cgroup, backend, generation }| EdgeKey {
            cgroup: *cgroup,
            backend: BackendIndex { index: *backend },
            generation: *generation,
        })
    };
    let label = name(line.source.as_deref()).ok()?;
    let source = source(line, label.clone());
    let count = || EdgeCounters::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Name => EdgeStep::Name(line.cgroup?, label),
        Verb::Settle => EdgeStep::Settle(key()?, source, account(line)?, count()?),
        Verb::Drop => EdgeStep::Drop(key()?),
        Verb::Own => EdgeStep::Seat(Seat::Own(label?)),
        Verb::Others => EdgeStep::Seat(Seat::Others(label?)),
        Verb::Fold => EdgeStep::Seat(Seat::Fold(label?)),
        Verb::Gone => EdgeStep::Seat(Seat::Gone(label?)),
        Verb::Rest => EdgeStep::Rest(account(line)?, line.count.clone()),
        Verb::Told => EdgeStep::Told(line.number?),
        Verb::Move => {
            let refused = RefusalCounters::from_numbers(&line.refused).unwrap_or_default();
            let (account, counters) = (account(line)?, count()?);
            EdgeStep::Move(Move { from: source, account, counters, refused })
        }
        Verb::Mark => EdgeStep::Mark(key()?, count()?),
        Verb::Total => EdgeStep::Total(source, account(line)?, count()?),
        Verb::Leave | Verb::Stay => return None,
    })
}

fn inbound_step(line: &Line) -> Option<InboundStep> {
    let endpoint = line.endpoint.map(|number| EndpointId { number });
    let client = line.client.map(|number| ClientId { number });
    let key = || Some(InboundKey { endpoint: endpoint?, client: client? });
    let label = name(line.source.as_deref()).ok()?;
    let count = || EdgeCounters::from_numbers(&line.count);
    Some(match line.verb {
        Verb::Name => match (endpoint, client) {
            (Some(id), None) => {
                let account = account(line)?;
                InboundStep::Endpoint(id, account.service.is_some().then_some(account))
            }
            (None, Some(id)) => InboundStep::Client(id, label),
            _ => return None,
        },
        Verb::Settle => InboundStep::Settle(key()?, count()?),
        Verb::Drop => InboundStep::Drop(key()?),
        Verb::Mark => InboundStep::Mark(key()?, count()?),
        Verb::Own => InboundStep::Seat(label?, true),
        Verb::Others => InboundStep::Seat(label?, false),
        Verb::Total => InboundStep::Total(source(line, label), account(line)?, count()?),
        Verb::Leave
        | Verb::Stay
        | Verb::Fold
        | Verb::Told
        | Verb::Move
        | Verb::Gone
        | Verb::Rest => return None,
    })
}

fn source(line: &Line, label: Option<Label>) -> Source {
    let nobody = if line.other { Source::Other } else { Source::Unknown };
    label.map_or(nobody, Source::Workload)
}

/// A name that may be absent.
fn name<T: FromStr>(text: Option<&str>) -> Result<Option<T>, T::Err> {
    text.map(str::parse).transpose()
}
