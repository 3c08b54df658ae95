//! One event, as a row and as data; and the printer, which shows them as they come.

use mesh_api::wire;
use serde::Serialize;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::{Format, emit, time, units, yaml};

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// Microseconds since the Unix epoch.
    time_us: u64,
    node: String,
    outcome: &'static str,
    protocol: &'static str,
    source_workload: String,
    cgroup: u64,
    namespace: String,
    service: String,
    endpoint: String,
    version: String,
    client: String,
    frontend: String,
    backend: String,
    bytes_sent: u64,
    bytes_received: u64,
    duration_us: u64,
    srtt_us: u32,
    retransmits: u32,
    cause: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sent_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    received_path: String,
}

impl Event {
    pub(super) fn new(node: &str, it: wire::ConnectionEvent) -> Self {
        let outcome = match it.outcome() {
            wire::Outcome::Opened => "opened",
            wire::Outcome::Closed => "closed",
            wire::Outcome::Failed => "failed",
            wire::Outcome::Refused => "refused",
            wire::Outcome::Unspecified => "unknown",
        };
        let protocol = match it.transport() {
            wire::Transport::Udp => "udp",
            wire::Transport::Tcp | wire::Transport::Unspecified => "tcp",
        };
        Self {
            time_us: it.time_us,
            node: node.to_owned(),
            outcome,
            protocol,
            source_workload: it.source_workload,
            cgroup: it.cgroup,
            namespace: it.namespace,
            service: it.service,
            endpoint: it.endpoint,
            version: it.version,
            client: it.client,
            frontend: it.frontend,
            backend: it.backend,
            bytes_sent: it.bytes_sent,
            bytes_received: it.bytes_received,
            duration_us: it.duration_us,
            srtt_us: it.srtt_us,
            retransmits: it.retransmits,
            cause: it.cause,
            sent_path: it.sent_path,
            received_path: it.received_path,
        }
    }

    /// `namespace/service`; nothing where it is not known.
    fn name(&self) -> String {
        if self.service.is_empty() {
            return String::new();
        }
        format!("{}/{}", self.namespace, self.service)
    }

    fn row(&self, columns: Columns) -> Vec<(String, Option<Tone>)> {
        let tone = match self.outcome {
            "opened" => Some(Tone::Good),
            "failed" | "refused" => Some(Tone::Bad),
            _ => None,
        };
        let is_closed = self.outcome == "closed";
        let bytes = |count: u64| {
            if is_closed { units::bytes(units::float(count)) } else { String::new() }
        };
        let was_sent = self.outcome != "refused";
        let lasted = if was_sent { duration(self.duration_us) } else { String::new() };
        let mut row = vec![(clock(self.time_us), None)];
        if columns.node {
            row.push((self.node.clone(), None));
        }
        row.extend([
            (self.outcome.to_owned(), tone),
            (self.source_workload.clone(), None),
            (self.name(), None),
            (self.endpoint.clone(), None),
            (self.backend.clone(), None),
            (bytes(self.bytes_sent), None),
            (bytes(self.bytes_received), None),
            (lasted, None),
            (self.cause.clone(), tone),
        ]);
        if columns.wide {
            let rtt = if self.srtt_us == 0 { String::new() } else { duration(self.srtt_us.into()) };
            let retransmits = if was_sent { self.retransmits.to_string() } else { String::new() };
            let wide = [
                rtt,
                retransmits,
                self.protocol.to_owned(),
                self.client.clone(),
                self.frontend.clone(),
                self.version.clone(),
                self.sent_path.clone(),
                self.received_path.clone(),
            ];
            row.extend(wide.map(|text| (text, None)));
        }
        row
    }
}

/// The time of the day, UTC, to the millisecond.
fn clock(microseconds: u64) -> String {
    let milliseconds = microseconds / 1000;
    let utc = time::utc(milliseconds);
    let seconds = utc.split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    format!("{seconds}.{:03}", milliseconds % 1000)
}

/// `250us`, `1.5ms`, `120ms`, then as ages.
fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1000 => format!("{microseconds}us"),
        1000..100_000 => {
            format!("{}.{}ms", microseconds / 1000, microseconds % 1000 / 100)
        }
        _ => time::age(microseconds / 1000),
    }
}

/// Which columns there are.
#[derive(Clone, Copy, Debug)]
struct Columns {
    node: bool,
    wide: bool,
}

impl Columns {
    /// What they are called, and how wide what they mostly show is.
    fn table(self) -> Table {
        let mut columns = vec![("TIME", 12)];
        if self.node {
            columns.push(("NODE", 8));
        }
        columns.extend([
            ("EVENT", 7),
            ("SOURCE", 12),
            ("SERVICE", 16),
            ("ENDPOINT", 10),
            ("BACKEND", 17),
            ("SENT", 7),
            ("RECEIVED", 8),
            ("DURATION", 8),
            ("CAUSE", 5),
        ]);
        if self.wide {
            columns.extend([
                ("RTT", 6),
                ("RETRANSMITS", 11),
                ("PROTOCOL", 8),
                ("CLIENT", 17),
                ("FRONTEND", 17),
                ("VERSION", 7),
                ("SENT-PATH", 10),
                ("RECEIVED-PATH", 13),
            ]);
        }
        let (heading, widths): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        Table::new(&heading).at_least(&widths)
    }
}

/// Shows events, in the format asked for.
#[derive(Debug)]
pub(super) struct Printer {
    format: Format,
    style: Style,
    columns: Columns,
    table: Table,
    /// How many more are shown; `None`: all.
    rest: Option<u64>,
}

impl Printer {
    /// `nodes`: several nodes are shown; `limit`: so many events, 0: all.
    pub(super) fn new(context: &Context, nodes: bool, limit: u64) -> Self {
        let Context { format, style, .. } = *context;
        let columns = Columns { node: nodes, wide: format == Format::Wide };
        let table = columns.table();
        Self { format, style, columns, table, rest: (limit > 0).then_some(limit) }
    }

    /// Shows the heading.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => emit(&self.table.render(self.style)),
            Format::Json | Format::Yaml | Format::Name => Ok(()),
        }
    }

    /// Shows events; returns whether that was the last that may be shown.
    pub(super) fn print(
        &mut self,
        events: impl ExactSizeIterator<Item = Event>,
    ) -> Result<bool, Failure> {
        if events.len() == 0 {
            return Ok(false);
        }
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let most = self.rest.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        self.rest = self.rest.map(|rest| rest.saturating_sub(count));
        let text = self.text(events.take(most))?;
        emit(&text)?;
        Ok(self.rest == Some(0))
    }

    fn text(&mut self, events: impl Iterator<Item = Event>) -> Result<String, Failure> {
        let mut text = String::new();
        for event in events {
            match self.format {
                Format::Table | Format::Wide => self.table.toned(event.row(self.columns)),
                Format::Json => text = text + &serde_json::to_string(&event)? + "\n",
                Format::Yaml => text = text + "---\n" + &yaml(&event)?,
                Format::Name => text = text + &event.name() + "\n",
            }
        }
        if matches!(self.format, Format::Table | Format::Wide) {
            text = self.table.render(self.style);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> wire::ConnectionEvent {
        wire::ConnectionEvent {
            time_us: 951_782_399_012_345,
            outcome: wire::Outcome::Closed.into(),
            transport: wire::Transport::Tcp.into(),
            source_workload: "shop".to_owned(),
            namespace: "prod".to_owned(),
            service: "web".to_owned(),
            endpoint: "web-1".to_owned(),
            client: "10.0.0.9:40000".to_owned(),
            frontend: "10.96.0.1:80".to_owned(),
            backend: "10.0.0.1:8080".to_owned(),
            bytes_sent: 5,
            bytes_received: 2048,
            duration_us: 12_345,
            srtt_us: 90,
            ..wire::ConnectionEvent::default()
        }
    }

    fn refused() -> wire::ConnectionEvent {
        wire::ConnectionEvent {
            outcome: wire::Outcome::Refused.into(),
            cause: "breaker_open".to_owned(),
            backend: String::new(),
            ..closed()
        }
    }

    fn printer(format: Format, limit: u64) -> Printer {
        let columns = Columns { node: true, wide: format == Format::Wide };
        let (table, rest) = (columns.table(), (limit > 0).then_some(limit));
        Printer { format, style: Style::PLAIN, columns, table, rest }
    }

    fn text(format: Format) -> String {
        let events = [closed(), refused()].map(|it| Event::new("n1", it));
        printer(format, 0).text(events.into_iter()).expect("text")
    }

    #[test]
    fn an_event_is_a_line_with_what_there_is_to_say() {
        let table = text(Format::Table);
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let heading =
            "TIME NODE EVENT SOURCE SERVICE ENDPOINT BACKEND SENT RECEIVED DURATION CAUSE";
        assert_eq!(lines[0].join(" "), heading);
        let closed = "23:59:59.012 n1 closed shop prod/web web-1 10.0.0.1:8080 5B 2KiB 12.3ms -";
        assert_eq!(lines[1].join(" "), closed);
        let refused = "23:59:59.012 n1 refused shop prod/web web-1 - - - - breaker_open";
        assert_eq!(lines[2].join(" "), refused);
        // Columns stay where they are.
        let at = |line: &str, text: &str| line.find(text);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(at(rows[0], "CAUSE"), at(rows[2], "breaker_open"));
        assert!(text(Format::Wide).contains("90us"));
    }

    #[test]
    fn programs_get_a_line_of_json_each() {
        let lines: Vec<serde_json::Value> = text(Format::Json)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["bytesReceived"], &lines[0]["node"]), (&2048.into(), &"n1".into()));
        assert_eq!(lines[1]["cause"], "breaker_open");
        assert_eq!(text(Format::Name), "prod/web\nprod/web\n");
        assert_eq!(text(Format::Yaml).matches("---\n").count(), 2);
    }

    #[test]
    fn colours_say_how_it_went() {
        let tones = |event| {
            let row = Event::new("n1", event).row(Columns { node: false, wide: false });
            row[1].1
        };
        assert_eq!((tones(closed()), tones(refused())), (None, Some(Tone::Bad)));
        let opened = wire::Outcome::Opened.into();
        let opened = wire::ConnectionEvent { outcome: opened, ..closed() };
        assert_eq!(tones(opened), Some(Tone::Good));
    }

    #[test]
    fn short_times_are_exact() {
        for (microseconds, text) in
            [(0, "0us"), (999, "999us"), (1000, "1.0ms"), (99_999, "99.9ms"), (250_000, "250ms")]
        {
            assert_eq!(duration(microseconds), text);
        }
    }
}
