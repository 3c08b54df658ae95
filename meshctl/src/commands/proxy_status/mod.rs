//! `proxy-status`: whether each client of xDS has what it should: agents, Envoys, gRPC programs.

mod row;
#[cfg(test)]
mod tests;

use mesh_api::wire;

pub(super) use self::row::{Row, State};
use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{emit_value, time};

/// The types in the order in which they are sent.
const TYPES: [&str; 4] = ["CDS", "EDS", "LDS", "RDS"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show this client in detail: its id, or the name of its node.
    id: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let rows = Row::all(client.status(wire::StatusRequest {}).await?);
    let Some(id) = args.id else {
        let names = || rows.iter().map(Row::name).collect();
        return emit_value(context, &rows, names, |wide| table(&rows, wide, context.style));
    };
    let found = find(rows, &id).ok_or_else(|| Failure::NotFound {
        message: format!("no client {id:?} has connected: `meshctl proxy-status` lists the others"),
    })?;
    let names = || found.iter().map(Row::name).collect();
    emit_value(context, &found, names, |_wide| {
        let details: Vec<_> = found.iter().map(|row| detail(row, context.style)).collect();
        details.join("\n")
    })
}

/// As in `Clients: 2 envoy, 3 grpc, 1 rejecting (see …)`; empty where there is none.
pub(super) fn summary(rows: &[Row]) -> String {
    let connected = |kind| rows.iter().filter(|it| it.connected && it.kind == kind).count();
    let is = |state| rows.iter().filter(|it| it.state == state).count();
    let counts = [
        (connected("envoy"), "envoy"),
        (connected("grpc"), "grpc"),
        (is(State::Away), "away"),
        (is(State::Rejected), "rejecting"),
    ];
    let counts = counts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = counts.map(|(number, what)| format!("{number} {what}")).collect();
    match parts.join(", ").as_str() {
        "" => String::new(),
        parts => format!("Clients: {parts} (meshctl proxy-status)\n"),
    }
}

/// Those with an id, else those on a node.
fn find(rows: Vec<Row>, id: &str) -> Option<Vec<Row>> {
    let (with, without): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.id == id);
    let found = if with.is_empty() {
        without.into_iter().filter(|row| row.node == id).collect()
    } else {
        with
    };
    (!found.is_empty()).then_some(found)
}

fn table(rows: &[Row], wide: bool, style: Style) -> String {
    if rows.is_empty() {
        return "No client has connected yet\n".to_owned();
    }
    let mut heading = vec!["KIND", "ID", "NODE", "STATE"];
    heading.extend(TYPES);
    heading.extend(["FOR", "VERSION"]);
    if wide {
        heading.extend(["SENT", "ACKED", "REFUSED", "CONNECTED"]);
    }
    let mut table = Table::new(&heading);
    for row in rows {
        let plain = |text: &str| (text.to_owned(), None);
        let mut cells = vec![plain(row.kind), plain(&row.id), plain(&row.node), toned(row.state)];
        cells
            .extend(TYPES.map(|name| row.of(name).map_or_else(|| plain(""), |it| toned(it.state))));
        cells.extend([plain(&time::age(row.state_ms)), plain(&row.version)]);
        if wide {
            let newest = |of: fn(&row::Type) -> u64| row.types.iter().map(of).max().unwrap_or(0);
            cells.push(plain(&newest(|it| it.sent_revision).to_string()));
            cells.push(plain(&newest(|it| it.acked_revision).to_string()));
            cells.push(plain(&row.refused.len().to_string()));
            cells.push(plain(&connected(row)));
        }
        table.toned(cells);
    }
    let mut out = table.render(style);
    if rows.iter().any(|row| !row.refused.is_empty()) {
        out.push('\n');
    }
    out.extend(rows.iter().flat_map(Row::refusals));
    out
}

fn connected(row: &Row) -> String {
    let word = if row.connected { "yes" } else { "no" };
    format!("{word}, for {}", time::age(row.since_ms))
}

fn toned(state: State) -> (String, Option<Tone>) {
    let tone = match state {
        State::Synced => Some(Tone::Good),
        State::NotSent => None,
        State::Stale | State::Rejected | State::Away => Some(Tone::Bad),
    };
    (state.as_str().to_owned(), tone)
}

fn detail(row: &Row, style: Style) -> String {
    let mut table = Table::bare();
    let mut field = |name: &str, (text, tone)| {
        table.toned(vec![(format!("{name}:"), None), (text, tone)]);
    };
    field("Kind", (row.kind.to_owned(), None));
    field("ID", (row.id.clone(), None));
    field("Node", (row.node.clone(), None));
    field("Version", (row.version.clone(), None));
    field("Connected", (connected(row), None));
    field("State", toned(row.state));
    let mut out = table.render(style) + "\n";
    let mut table = Table::new(&["TYPE", "STATE", "FOR", "RESOURCES", "SENT", "ACKED"]);
    for it in &row.types {
        let resources = it.resources.map_or_else(String::new, |number| number.to_string());
        let mut cells = vec![(it.name.clone(), None), toned(it.state)];
        let age = if it.state == State::NotSent { String::new() } else { time::age(it.since_ms) };
        let rest = [age, resources, revision(it.sent_revision), revision(it.acked_revision)];
        cells.extend(rest.map(|text| (text, None)));
        table.toned(cells);
    }
    out.push_str(&table.render(style));
    if !row.refused.is_empty() {
        out.push_str("\nRefused; the form before is still served:\n");
    }
    for it in &row.refused {
        let name = if it.name.is_empty() { "some resource" } else { &it.name };
        let line = format!("  {} {name}, revision {}: {}\n", it.r#type, it.revision, it.message);
        out.push_str(&line);
    }
    out
}

fn revision(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}
