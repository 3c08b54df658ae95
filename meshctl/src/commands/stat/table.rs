//! Traffic as columns.

use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::units::{bytes, float};
use crate::traffic::{Column, Found, Row, Scope, headings};

/// Totals of the wide form.
const TOTALS: [&str; 11] = [
    "ATTEMPTS",
    "OPENED",
    "CLOSED",
    "FAILED",
    "FAILED-BY",
    "REFUSED",
    "REFUSED-BY",
    "PASSED",
    "SENT",
    "RECEIVED",
    "WINDOW",
];

/// Rows with their numbers; nothing where there are none.
pub(super) fn table(found: &Found, scope: &Scope, wide: bool, style: Style) -> String {
    if found.rows.is_empty() {
        return String::new();
    }
    let namespace = scope.namespace.is_empty();
    let columns = Column::ALL.iter().skip(1);
    let mut heading = headings(found.by, namespace);
    heading.extend(columns.clone().map(|column| column.heading()));
    if wide {
        heading.extend(TOTALS);
    }
    let mut table = Table::new(&heading);
    for row in &found.rows {
        let subject = row.subject.cells(found.by, namespace).into_iter();
        let mut cells: Vec<_> = subject.map(|text| (text.to_owned(), None)).collect();
        cells.extend(
            columns
                .clone()
                .map(|column| (column.cell(row), column.is_bad(row).then_some(Tone::Bad))),
        );
        if wide {
            cells.extend(totals(row).map(|text| (text, None)));
        }
        table.toned(cells);
    }
    table.render(style)
}

fn totals(row: &Row) -> [String; 11] {
    let total = &row.total;
    [
        total.attempts.to_string(),
        total.opened.to_string(),
        total.closed.to_string(),
        total.failed.to_string(),
        causes(&total.failed_by()),
        total.refused.to_string(),
        causes(&total.refused_by()),
        total.passed.to_string(),
        bytes(float(total.bytes_sent)),
        bytes(float(total.bytes_received)),
        crate::output::time::age(row.window_ms),
    ]
}

/// As in `breaker_open=5,max_connections=2`.
fn causes(of: &[(&str, u64)]) -> String {
    let causes = of.iter().map(|(name, count)| format!("{}={count}", name.replace(' ', "_")));
    causes.collect::<Vec<_>>().join(",")
}

/// As in `service/reviews`, one for each row.
pub(super) fn names(found: &Found) -> Vec<String> {
    let line = |row: &Row| {
        let cells = row.subject.cells(found.by, false);
        format!("{}/{}", found.by.as_str(), cells.join("/"))
    };
    found.rows.iter().map(line).collect()
}
