//! Which columns fit, how wide they are, and rows in them.

use super::{Line, Look, Span, cut, span};
use crate::commands::top::history::SECONDS;
use crate::traffic::{Column, Row};

/// Columns by how much they are wanted, and their widths.
const WANTED: [(Column, usize); 8] = [
    (Column::Conn, 7),
    (Column::Failed, 7),
    (Column::Open, 6),
    (Column::Out, 8),
    (Column::In, 8),
    (Column::Rtt, 7),
    (Column::Refused, 9),
    (Column::Retrans, 7),
];

/// Width that names get before columns are left out, if they need it; least width of the drawing of
/// the last minute.
const NAME: usize = 16;
const BARS: usize = 8;
/// Width of that drawing from which on it is good to read.
const READABLE: usize = 15;

/// What fits into a width.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    name: usize,
    /// In the order in which they are shown.
    columns: Vec<(Column, usize)>,
    /// Width of the last minute; 0: there is no room.
    pub(super) bars: usize,
}

impl Layout {
    /// Columns are left out before names are cut below a quarter of the screen.
    pub(super) fn new(width: usize, longest_name: usize, minute: bool) -> Self {
        let least = longest_name.clamp(NAME / 2, NAME.max(width / 4)).min(width);
        let mut left = width.saturating_sub(least);
        let mut columns = Vec::new();
        let take = |wanted: usize, left: &mut usize| {
            let fits = *left > wanted;
            if fits {
                *left -= wanted + 1;
            }
            fits
        };
        let mut bars = 0;
        for (index, (column, wanted)) in WANTED.into_iter().enumerate() {
            // After the two that matter most.
            if minute && index == 2 && take(BARS, &mut left) {
                bars = BARS;
            }
            // Before the two that matter least, the minute gets enough to be read.
            let reserved = if index >= 6 && bars > 0 { READABLE - BARS } else { 0 };
            if !take(wanted + reserved, &mut left) {
                break;
            }
            left += reserved;
            columns.push((column, wanted));
        }
        columns.sort_by_key(|(column, _)| *column);
        let name = least + left.min(longest_name.saturating_sub(least));
        let left = left - (name - least);
        if bars > 0 {
            bars = (bars + left).min(SECONDS);
        }
        Self { name, columns, bars }
    }

    pub(super) fn heading(&self, what: &str, sort: Column) -> Line {
        let look = |column: Column| if column == sort { Look::Marked } else { Look::Bold };
        let mut line = vec![span(fit(&what.to_uppercase(), self.name), look(Column::Name))];
        for (column, width) in &self.columns {
            line.push(span(" ", Look::Plain));
            line.push(span(right(column.heading(), *width), look(*column)));
        }
        if self.bars > 0 {
            let heading = if self.bars < 11 { "1 MIN" } else { "LAST MINUTE" };
            line.push(span(format!(" {heading}"), Look::Bold));
        }
        line
    }

    pub(super) fn row(&self, row: &Row, name: &str, bars: &str, selected: bool) -> Line {
        let mut line = vec![span(fit(name, self.name), Look::Plain)];
        for (column, width) in &self.columns {
            let cell = column.cell(row);
            let cell = if cell.is_empty() { "-" } else { &cell };
            let look = if column.is_bad(row) { Look::Bad } else { Look::Plain };
            line.push(span(" ", Look::Plain));
            line.push(span(right(cell, *width), look));
        }
        if self.bars > 0 {
            line.push(span(" ", Look::Plain));
            line.push(span(fit(bars, self.bars), Look::Bar));
        }
        if selected {
            let marked = |it: Span| Span { look: Look::Marked, ..it };
            line = line.into_iter().map(marked).collect();
        }
        line
    }
}

/// Cut or filled with blanks at the right.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = cut(text, width);
    format!("{text:width$}")
}

/// Cut, or filled with blanks at the left.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    format!("{text:>width$}")
}
