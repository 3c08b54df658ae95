//! Traffic of what is described: rates and totals, who makes the connections, and why some fail. Nothing
//! where the control plane knows of none.

use mesh_api::wire;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::units::{bytes, float};
use crate::traffic::{By, Column, Counts, Found, Row, stale};

/// Rows by client that are shown: the busiest.
const CALLERS: usize = 10;
/// What rates are of.
const WINDOW_MS: u64 = 10_000;
/// Columns of rates; the row has them for itself, so without a name.
const RATES: [Column; 8] = [
    Column::Open,
    Column::Conn,
    Column::Failed,
    Column::Refused,
    Column::In,
    Column::Out,
    Column::Rtt,
    Column::Retrans,
];
/// Columns of each of those that it is made of.
const OF_EACH: [Column; 4] = [Column::Open, Column::Conn, Column::Failed, Column::Refused];

/// What was counted of one thing.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Of all of it.
    pub(super) whole: Option<Row>,
    /// What it is made of, and what that is called.
    parts: Option<(&'static str, By, Vec<Row>)>,
    /// Nodes whose part is old.
    stale: Vec<String>,
    /// Of whom it is, where it is not of the thing alone.
    of: Option<String>,
}

impl Traffic {
    /// Of a service, with its callers.
    pub(super) async fn of_service(
        client: &mut Client,
        namespace: &str,
        service: &str,
    ) -> Result<Self, Failure> {
        let scope = |by| request(by, namespace, service, "");
        let whole = ask(client, By::Service, scope(By::Service)).await?;
        let parts = ask(client, By::Edge, scope(By::Edge)).await?;
        Ok(Self {
            whole: whole.rows.into_iter().next(),
            parts: Some(("Callers", By::Edge, parts.rows)),
            stale: whole.stale_nodes,
            of: None,
        })
    }

    /// Of the workload that runs an endpoint, or, where nobody knows that, of its version.
    pub(super) async fn of_endpoint(
        client: &mut Client,
        namespace: &str,
        spec: &wire::Endpoint,
    ) -> Result<Self, Failure> {
        let by = if spec.workload.is_empty() { By::Version } else { By::Workload };
        let found = ask(client, by, request(by, namespace, &spec.service, "")).await?;
        let is = |row: &Row| match by {
            By::Workload => row.subject.workload == spec.workload,
            By::Service | By::Edge | By::Version | By::Node => row.subject.version == spec.version,
        };
        let of = match by {
            By::Workload => format!("workload {}", spec.workload),
            By::Version if spec.version.is_empty() => "endpoints without a version".to_owned(),
            By::Service | By::Edge | By::Version | By::Node => {
                format!("all of version {}", spec.version)
            }
        };
        Ok(Self {
            whole: found.rows.into_iter().find(is),
            parts: None,
            stale: found.stale_nodes,
            of: Some(of),
        })
    }

    /// Of the clients on a node, with the services that they connect to.
    pub(super) async fn of_node(client: &mut Client, node: &str) -> Result<Self, Failure> {
        let whole = ask(client, By::Node, request(By::Node, "", "", node)).await?;
        let parts = ask(client, By::Service, request(By::Service, "", "", node)).await?;
        Ok(Self {
            whole: whole.rows.into_iter().next(),
            parts: Some(("Services", By::Service, parts.rows)),
            stale: whole.stale_nodes,
            of: Some("clients on this node".to_owned()),
        })
    }

    /// For people; nothing where nothing is known.
    pub(super) fn text(&self, style: Style) -> String {
        let Some(whole) = &self.whole else { return String::new() };
        let of = self.of.as_ref().map(|of| format!("of {of}; ")).unwrap_or_default();
        let mut out = format!("\nTraffic ({of}rates of {}s):\n", whole.window_ms.div_ceil(1000));
        let heading: Vec<String> = indented(RATES.map(Column::heading).to_vec());
        let mut table = Table::new(&heading.iter().map(String::as_str).collect::<Vec<_>>());
        table.toned(first_indented(cells(whole, &RATES)));
        out.push_str(&table.render(style));
        out.push_str(&totals(&whole.total));
        if let Some((name, by, rows)) = &self.parts
            && !rows.is_empty()
        {
            out.push_str(&parts(name, *by, rows, style));
        }
        if let Some(line) = stale(&self.stale) {
            out.extend(["  ", &line, "\n"]);
        }
        out
    }
}

fn request(by: By, namespace: &str, service: &str, node: &str) -> wire::StatRequest {
    wire::StatRequest {
        by: by.wire().into(),
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        node: node.to_owned(),
        window_ms: WINDOW_MS,
        ..wire::StatRequest::default()
    }
}

/// The answer; nothing from a control plane that does not gather traffic.
async fn ask(client: &mut Client, by: By, request: wire::StatRequest) -> Result<Found, Failure> {
    let response = match client.stat(request).await {
        Err(Failure::Declined { .. }) => wire::StatResponse::default(),
        answer => answer?,
    };
    Ok(Found::new(by, Column::Conn, response))
}

/// A number that nobody can know is said to be so.
fn cells(row: &Row, columns: &[Column]) -> Vec<(String, Option<Tone>)> {
    let cell = |column: &Column| {
        let text = column.cell(row);
        let text = if text.is_empty() { "not known".to_owned() } else { text };
        (text, column.is_bad(row).then_some(Tone::Bad))
    };
    columns.iter().map(cell).collect()
}

fn indented(heading: Vec<&str>) -> Vec<String> {
    let indent = |(at, text): (usize, &str)| format!("{}{text}", if at == 0 { "  " } else { "" });
    heading.into_iter().enumerate().map(indent).collect()
}

fn first_indented(mut cells: Vec<(String, Option<Tone>)>) -> Vec<(String, Option<Tone>)> {
    if let Some((text, _)) = cells.first_mut() {
        text.insert_str(0, "  ");
    }
    cells
}

/// All that was counted, and why connections failed or were refused.
fn totals(total: &Counts) -> String {
    let (sent, received) = (bytes(float(total.bytes_sent)), bytes(float(total.bytes_received)));
    let mut out = format!(
        "  Total: opened {}, closed {}, failed {}, refused {}, sent {sent}, received {received}\n",
        total.opened, total.closed, total.failed, total.refused
    );
    for (what, causes) in [("Failed", total.failed_by()), ("Refused", total.refused_by())] {
        let causes = causes.into_iter().map(|(name, count)| format!("{name} {count}"));
        let causes: Vec<String> = causes.collect();
        if !causes.is_empty() {
            out.extend(["  ", what, " by cause: ", &causes.join(", "), "\n"]);
        }
    }
    out
}

fn parts(name: &str, by: By, rows: &[Row], style: Style) -> String {
    let mut heading = match by {
        By::Edge => vec!["FROM"],
        By::Service | By::Version | By::Workload | By::Node => vec!["NAMESPACE", "SERVICE"],
    };
    heading.extend(OF_EACH.map(Column::heading));
    let heading = indented(heading);
    let mut table = Table::new(&heading.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows.iter().take(CALLERS) {
        let subject = &row.subject;
        let from = match subject.source_workload.as_str() {
            "" => "not known",
            from => from,
        };
        let named = match by {
            By::Edge => vec![from],
            By::Service | By::Version | By::Workload | By::Node => {
                vec![subject.namespace.as_str(), subject.service.as_str()]
            }
        };
        let mut line: Vec<_> = named.into_iter().map(|text| (text.to_owned(), None)).collect();
        line.extend(cells(row, &OF_EACH));
        table.toned(first_indented(line));
    }
    let more = match rows.len().saturating_sub(CALLERS) {
        0 => String::new(),
        more => format!("  {more} more: `meshctl stat {}`\n", by.as_str()),
    };
    format!("  {name}:\n{}{more}", table.render(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(edge: wire::Edge, opened: u64, failed: u64, window_ms: u64) -> Row {
        let traffic = wire::Traffic {
            opened,
            closed: opened,
            failed,
            failures: vec![wire::Cause { name: "refused".to_owned(), count: failed / 2 }],
            refused: failed,
            refusals: vec![wire::Cause {
                name: "breaker_open".to_owned(),
                count: failed.saturating_sub(1),
            }],
            bytes_sent: 2048,
            ..wire::Traffic::default()
        };
        let window = wire::Traffic { opened, failed, ..wire::Traffic::default() };
        Row::from(wire::StatRow {
            edge: Some(edge),
            total: Some(traffic),
            window: Some(window),
            window_ms,
            open: 3,
        })
    }

    #[test]
    fn traffic_is_told_with_callers_and_causes() {
        let from =
            |name: &str| wire::Edge { source_workload: name.to_owned(), ..wire::Edge::default() };
        let callers = vec![row(from("nginx.service"), 20, 0, 10_000), row(from(""), 0, 0, 0)];
        let traffic = Traffic {
            whole: Some(row(wire::Edge::default(), 20, 5, 10_000)),
            parts: Some(("Callers", By::Edge, callers)),
            ..Traffic::default()
        };
        assert_eq!(
            traffic.text(Style::PLAIN),
            "
Traffic (rates of 10s):
  OPEN   CONN/S   FAILED%   REFUSED/S   IN/S   OUT/S   RTT         RETRANS
  3      2        20        0           0      0       not known   0
  Total: opened 20, closed 20, failed 5, refused 5, sent 2KiB, received 0
  Failed by cause: refused 2, not known 3
  Refused by cause: breaker_open 4, not known 1
  Callers:
  FROM            OPEN   CONN/S      FAILED%     REFUSED/S
  nginx.service   3      2           0           0
  not known       3      not known   not known   not known
"
        );
    }

    #[test]
    fn where_nothing_is_known_nothing_is_said() {
        assert_eq!(Traffic::default().text(Style::PLAIN), "");
    }

    #[test]
    fn of_many_callers_the_busiest_are_shown() {
        let rows: Vec<Row> = (0..13).map(|_| row(wire::Edge::default(), 1, 0, 1000)).collect();
        let text = parts("Callers", By::Edge, &rows, Style::PLAIN);
        assert_eq!(text.lines().count(), 2 + CALLERS + 1, "{text}");
        assert!(text.ends_with("  3 more: `meshctl stat edge`\n"), "{text}");
    }
}
