//! One row on a page of its own: totals, its last minutes, causes of failure, what is below it.

use super::columns::Layout;
use super::{Line, Look, View, keys_line, span, status, wrap};
use crate::commands::top::detail::Detail;
use crate::commands::top::state::State;
use crate::output::units::{bytes, float};
use crate::traffic::{By, Column, Counts, Row, Subject};

/// Least height of a chart that says something.
const LEAST: usize = 6;

/// What the chart gets of a screen with so many lines of text.
fn chart_height(height: usize, lines: usize) -> usize {
    let left = height.saturating_sub(lines);
    if left < LEAST { 0 } else { left.min(height / 2) }
}

pub(super) fn view(
    state: &State,
    (subject, detail): (&Subject, Option<&Detail>),
    (width, height): (usize, usize),
) -> View {
    let by = state.scope.by;
    let name = state.name(subject);
    let title = vec![
        span(format!("{} {name}", by.as_str()), Look::Bold),
        span("  opened and failed a second, last 15 minutes", Look::Dim),
    ];
    let head = vec![title, status(state, width)];
    let mut body = Vec::new();
    match state.row(subject) {
        Some(row) => body.extend(totals(row, width)),
        None => body.push(vec![span("it has gone", Look::Plain)]),
    }
    if let Some((by, rows)) = detail.and_then(|detail| detail.below.as_ref()) {
        body.push(Line::new());
        body.extend(below(*by, rows, width));
    }
    let chart = chart_height(height, head.len() + body.len() + 1);
    View { head, chart, body, foot: keys_line(&[("Esc", "back"), ("p", "pause"), ("?", "help")]) }
}

fn totals(row: &Row, width: usize) -> Vec<Line> {
    let text = |label: &str, counts: &Counts| {
        format!(
            "{label}: opened {}, closed {}, failed {}, refused {}, let through {}, sent {}, \
             received {}",
            counts.opened,
            counts.closed,
            counts.failed,
            counts.refused,
            counts.passed,
            bytes(float(counts.bytes_sent)),
            bytes(float(counts.bytes_received)),
        )
    };
    let window = format!("Last {}", crate::output::time::age(row.window_ms));
    let mut lines = wrap(&text("Total", &row.total), width);
    if row.window_ms > 0 {
        lines.extend(wrap(&text(&window, &row.window), width));
    }
    for (what, total, window) in [
        ("Failed", row.total.failed_by(), row.window.failed_by()),
        ("Refused", row.total.refused_by(), row.window.refused_by()),
    ] {
        let cause = |(cause, count): &(&str, u64)| {
            let now = window.iter().find(|(it, _)| it == cause).map_or(0, |(_, now)| *now);
            format!("{} {count} (now {now})", cause.replace('_', " "))
        };
        let causes: Vec<String> = total.iter().map(cause).collect();
        if !causes.is_empty() {
            let text = format!("{what} because: {}", causes.join(", "));
            let bad = wrap(&text, width).into_iter().flatten();
            lines.extend(bad.map(|it| vec![span(it.text, Look::Bad)]));
        }
    }
    lines
}

/// A small table.
fn below(by: By, rows: &[Row], width: usize) -> Vec<Line> {
    let name = |subject: &Subject| {
        let name = match by {
            By::Version => &subject.version,
            By::Workload => &subject.workload,
            By::Service | By::Edge | By::Node => return subject.name(by, true),
        };
        if name.is_empty() { "-".to_owned() } else { name.clone() }
    };
    let names: Vec<String> = rows.iter().map(|row| name(&row.subject)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let layout = Layout::new(width, longest, false);
    let mut lines = vec![layout.heading(by.as_str(), Column::Name)];
    lines.extend(rows.iter().zip(&names).map(|(row, name)| layout.row(row, name, "", false)));
    lines
}
